"""The configuration reference, made of the models that read a study: every key, type, default and rule.

`python -m var_scaling.cli.reference > docs/configuration.md` writes the page; a test compares it, so that it is never
behind the code. What a key is for is the comment beside it in the source.
"""

from __future__ import annotations

import inspect
import io
import re
import sys
import tokenize
import types
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

SIGNS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
HEAD = """# Configuration

Every key of a study (`sweeps/*.yaml`) and of a cluster's profile. This page is made of the models that read them:
`python -m var_scaling.cli.reference > docs/configuration.md`.

A key that nobody wrote has its default; what is *derived* is filled in by the recipe, the tokenizer or the data, and
`var-sweep plan` and a trial's `config.yaml` show with what. Unknown keys are refused with the nearest name. Numbers may
be written `10_240` or `1e-3`. On the command line `--set train.batch_size=128` changes a key of the base.
"""
NOT_GIVEN = "not given"


def page() -> str:
    """The whole page, in Markdown."""
    from var_scaling.config.evaluate import EvaluateConfig
    from var_scaling.families.registry import OURS, families
    from var_scaling.launch.slurm.profile import Profile
    from var_scaling.planning.study import Budgets, Study, Variant
    from var_scaling.planning.trial import TrialConfig
    from var_scaling.tokenizers.registry import kinds

    base = TrialConfig.model_fields
    parts = [HEAD, *_section("A study", Study, none=NOT_GIVEN, deep=False)]
    parts += _section("`budgets`", Budgets, 3, none=NOT_GIVEN)
    parts += _section("A variant, of `variants`", Variant, 3, none=NOT_GIVEN, deep=False)
    parts += _section("`pursue`", _model(Study.model_fields["pursue"].annotation), 3, "pursue", none=NOT_GIVEN)
    parts += _section("`evaluate`", EvaluateConfig, 2, "evaluate", none=NOT_GIVEN)
    for name in OURS:
        sampler = type(families()[name].sampler())
        parts += _section(f"`evaluate.fid`, how family {name} samples", sampler, 3)
    parts += ["## `base`\n", *_table(base, TrialConfig, "derived")]
    parts += _section("`base.data`", _model(base["data"].annotation), 3, "base.data")
    for name, kind in kinds().items():
        presets = ", ".join(f"`{preset}`" for preset in kind.presets)
        more = f"Presets: {presets}.\n" if presets else ""
        parts += _section(f"`base.tokenizer`, {name}", kind.config, 3, "base.tokenizer", more)
    for name in OURS:
        parts += _section(f"`base.model`, family {name}", families()[name].config, 3, "base.model")
    for name in ("train", "execution", "placement"):
        parts += _section(f"`base.{name}`", _model(base[name].annotation), 3, f"base.{name}")
    parts += _section("A cluster's profile", Profile, none=NOT_GIVEN)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).rstrip() + "\n"


def _section(
    title: str,
    model: type[BaseModel] | None,
    level: int = 2,
    path: str = "",
    more: str = "",
    *,
    none: str = "derived",
    deep: bool = True,
) -> Iterator[str]:
    """A heading, what the model is, its keys; with `deep` the sections within it after it.

    Args:
        title: the heading.
        model: what reads it.
        level: of the heading.
        path: where in a study it stands, for the headings within.
        more: said before the keys.
        none: what a key that is `None` by default is.
        deep: whether to go on into its sections.
    """
    assert model is not None, title
    yield f"{'#' * level} {title}\n"
    words = (model.__doc__ or "").split("\n\n")[0].split()
    yield f"{' '.join(words)}\n" if words else ""
    yield more
    yield from _table(model.model_fields, model, none)
    for name, field in model.model_fields.items() if deep else ():
        if found := _model(field.annotation):
            within = f"{path}.{name}" if path else name
            yield from _section(f"`{within}`", found, min(level + 1, 4), within, none=none)


def _table(fields: Mapping[str, FieldInfo], model: type[BaseModel], none: str) -> Iterator[str]:
    if not fields:
        return
    said = _comments(model)
    yield "| key | type | default | rule and meaning |"
    yield "| --- | --- | --- | --- |"
    for name, field in fields.items():
        meaning = "; ".join(filter(None, (_rule(field), field.description or said.get(name, ""))))
        yield f"| `{name}` | {_type(field.annotation)} | {_default(field, none)} | {_cell(meaning)} |"
    yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _model(annotation: Any) -> type[BaseModel] | None:
    """The model that a key holds, where it is a section; `SerializeAsAny`, `Annotated` and `| None` do not hide it."""
    for each in (annotation, *get_args(annotation)):
        if inspect.isclass(each) and issubclass(each, BaseModel):
            return each if get_origin(annotation) not in (tuple, list, dict) else None
    return None


def _type(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(part) for part in parts if part is not type(None))
    if origin is tuple:
        return f"list of {_type(parts[0])}"
    if origin is not None and origin not in (tuple,) and hasattr(annotation, "__metadata__"):
        return _type(parts[0])
    if origin in (dict, Mapping) or "Mapping" in str(annotation):
        return "section"
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return "section"
    names = {str: "text", int: "integer", float: "number", bool: "true or false"}
    return names.get(annotation, _cell(str(getattr(annotation, "__name__", annotation))))


def _default(field: FieldInfo, none: str) -> str:
    if field.default_factory is not None:
        return "empty"
    if field.is_required():
        return "**required**"
    if field.default is None:
        return none
    if isinstance(field.default, BaseModel):
        return "its keys' own"
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    if isinstance(field.default, tuple):
        return f"`[{', '.join(map(str, field.default))}]`"
    if isinstance(field.default, Mapping):
        return "empty" if not field.default else f"`{dict(field.default)}`"
    return f"`{field.default}`" if field.default != "" else "empty"


def _rule(field: FieldInfo) -> str:
    rules = []
    for limit in field.metadata:
        for sign, words in SIGNS.items():
            if (value := getattr(limit, sign, None)) is not None:
                rules.append(f"{words} {'2^31' if value == 2**31 else value}")
        if pattern := getattr(limit, "pattern", None):
            rules.append(f"letters that match `{pattern}`")
    return ", ".join(rules)


def _comments(model: type[BaseModel]) -> dict[str, str]:
    """The comment at the end of each field's line, of the class and those it stands on."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if each in (BaseModel, object) or not issubclass(each, BaseModel):
            continue
        try:
            source = inspect.getsource(each)
        except (OSError, TypeError):  # made at run time of others
            continue
        lines = source.splitlines()
        for token in tokenize.generate_tokens(io.StringIO(inspect.cleandoc("\n" + source)).readline):
            if token.type == tokenize.COMMENT and (name := re.match(r"\s*(\w+)\s*:", lines[token.start[0] - 1])):
                words = token.string.lstrip("# ")
                if not words.startswith(("noqa", "type:")):
                    found[name[1]] = words
    return found


if __name__ == "__main__":
    sys.stdout.write(page())
