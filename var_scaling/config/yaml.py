"""YAML 1.2 scalars (`1e-3` is a number, `no` is a word), lists as tuples, and the line of every key for messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from var_scaling.errors import RequestProblem

Lines = dict[tuple[str, ...], int]  # path of a key -> its line, counted from 1


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


# The core schema of YAML 1.2 (section 10.3.2), plus `_` between digits, which the sweeps use for long counts.
_SCALARS = [
    ("null", r"null|Null|NULL|~|", "nN~" + "\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9][0-9_]*", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
]
for _name, _pattern, _first in _SCALARS:
    for _character in _first:
        _Loader.yaml_implicit_resolvers.setdefault(_character if _character != "\0" else "", []).append(
            (f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"))
        )


def _construct_int(loader: _Loader, node: yaml.Node) -> int:
    return int(str(node.value).replace("_", ""))


def _construct_float(loader: _Loader, node: yaml.Node) -> float:
    return float(str(node.value).replace("_", ""))


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)


def parse(text: str, name: str = "<text>") -> tuple[Any, Lines]:
    """The value of one YAML document and the line of each of its keys.

    Raises:
        RequestProblem: not YAML, or a key given twice; the sentence names file and line.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise RequestProblem(f"{name}: the file is empty; start with `name:` and `base:` (see sweeps/depth.yaml)")
        lines: Lines = {}
        _collect_lines(node, (), lines, name)
        return tuples(loader.construct_document(node)), lines
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise RequestProblem(f"{name}, line {line}: not YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RequestProblem(f"{name}: not YAML: {error}") from None


def load(path: Path) -> tuple[Any, Lines]:
    """`parse` of a file."""
    return parse(read_text(path), str(path))


def read_text(path: Path) -> str:
    """The text of a file that a user named.

    Raises:
        RequestProblem: there is none, or it is no text; files beside it are named.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        hint = f"; files there: {', '.join(near)}" if near else ""
        raise RequestProblem(f"{path}: no such file{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RequestProblem(f"{path}: cannot be read as text: {error}") from None


def parse_scalar(text: str) -> Any:
    """The value of one command-line override (`--set a.b=1e-3`)."""
    return parse(text, "--set")[0] if text else ""


def dump(value: Mapping[str, Any]) -> str:
    """YAML that `parse` reads back to the same value (tuples as flow lists, keys in the order given)."""
    return yaml.dump(_lists(value), Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=120)


# libyaml's where PyYAML has it (its wheels do): eight times as fast, which a launch of a thousand trials notices.
_FastDumper: type[yaml.SafeDumper] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_FastDumper):  # type: ignore[misc, valid-type]
    """Writes what readers of YAML 1.2 and of 1.1 take for the same: `1e-05` gets its dot, doubtful words quotes."""

    yaml_implicit_resolvers = {
        first: [
            *yaml.SafeDumper.yaml_implicit_resolvers.get(first, ()),
            *_Loader.yaml_implicit_resolvers.get(first, ()),
        ]
        for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *_Loader.yaml_implicit_resolvers}
    }


def _represent_float(dumper: _Dumper, value: float) -> yaml.Node:
    text = repr(value)
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e")
    node: yaml.Node = dumper.represent_scalar("tag:yaml.org,2002:float", text)
    return node


_Dumper.add_representer(float, _represent_float)


def _collect_lines(node: yaml.Node, path: tuple[str, ...], lines: Lines, name: str) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, str(key.value))
            if here in lines:
                raise RequestProblem(
                    f"{name}, line {key.start_mark.line + 1}: `{'.'.join(here)}` is given twice "
                    f"(first in line {lines[here]}); keep one"
                )
            lines[here] = key.start_mark.line + 1
            _collect_lines(value, here, lines, name)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            here = (*path, str(index))
            lines[here] = value.start_mark.line + 1
            _collect_lines(value, here, lines, name)


def tuples(value: Any) -> Any:
    """A tree with its lists as tuples, as the strict config models take them (also for what comes from JSON)."""
    if isinstance(value, dict):
        return {k: tuples(v) for k, v in value.items()}
    return tuple(tuples(v) for v in value) if isinstance(value, list) else value


def _lists(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _lists(v) for k, v in value.items()}
    return [_lists(v) for v in value] if isinstance(value, list | tuple) else value
