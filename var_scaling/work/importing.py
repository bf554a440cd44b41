"""Reads files of published weights into the store. `python -m var_scaling.work.importing RUNS FILE GIVEN` reads one.

Tensors are kept under our names in float32 and under the hash of their content, so that the same weights are the same
in whatever file they came.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from var_scaling import state_dicts
from var_scaling.config import yaml
from var_scaling.errors import EnvironmentProblem, RequestProblem
from var_scaling.planning.imported import HASH_DIGITS, Known, stamp, weights_path, write_note
from var_scaling.planning.imported_models import BUDGET
from var_scaling.planning.works import Work
from var_scaling.published import FORMATS, check_finite, recognise
from var_scaling.runs import layout, store
from var_scaling.state_dicts import Given, given_of, weights_hash
from var_scaling.tokenizers.registry import kind_of, read_tokenizer
from var_scaling.weight_files import read_weights
from var_scaling.work.context import load_tokenizer
from var_scaling.work.tokenizer import place_imported


class Untold(RequestProblem):
    """Something of the weights shows in no shape, and nobody said it."""


def import_file(runs: Path, file: Path, given: Given) -> tuple[Known, nn.Module]:
    """Read a file of weights and keep what is in it.

    Args:
        runs: the runs folder.
        file: .pth, .safetensors or .npz, of any of `published.FORMATS`; or the weights of a tokenizer in the store.
        given: what no shape tells; over what the file's own metadata say.

    Returns:
        What was found, and the module in evaluation mode.

    Raises:
        RequestProblem: it cannot be read, or is of none of the formats.
        EnvironmentProblem: it is not there, or the store cannot be written.
    """
    before = stamp(file) if file.is_file() else []
    with _remarks() as said:
        what, name, module, config = _read(file, given)
        try:
            check_finite(module)
        except ValueError as problem:
            raise RequestProblem(f"{file}: {problem}") from None
    known = Known(
        weights=weights_hash(module)[:HASH_DIGITS],
        what=what,
        name=name,
        config=config.model_dump(mode="json", exclude_none=True),
        source=str(file),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        said=tuple(said),
    )
    try:
        _keep(runs, known.weights, module)
        write_note(runs, file, before, given.as_dict(), known)
    except OSError as error:
        raise _unwritable(runs, error) from None
    return known, module


def _read(file: Path, given: Given) -> tuple[str, str, nn.Module, Any]:
    """Tokenizer or model, of which kind or family, the module, and the config that builds it."""
    kind, stage = layout.stage_of(file.resolve()) or ("", file)
    if kind == "tokenizer":  # one that was trained here
        config = read_tokenizer(yaml.load(layout.config(stage))[0]["tokenizer"])
        name, module = kind_of(config).name, load_tokenizer(file.parent, torch.device("cpu"))
        return "tokenizer", name, module, FORMATS[name][1].config_of(module)
    checkpoint, metadata = read_weights(file)
    try:
        name = recognise(checkpoint)
        what, form = FORMATS[name]
        module = form.read(checkpoint, metadata.under(given))
        return what, name, module, form.config_of(module)
    except state_dicts.Untold as problem:
        raise Untold(f"{file}: {problem}") from None
    except ValueError as problem:
        raise RequestProblem(f"{file}: {problem}") from None


def _keep(runs: Path, weights: str, module: nn.Module) -> None:
    final = weights_path(runs, weights).parent
    if final.exists():
        return
    final.parent.mkdir(parents=True, exist_ok=True)
    prepared = final.with_name(f".{weights}.{uuid.uuid4().hex[:8]}")
    prepared.mkdir()
    store.write_weights(layout.weights(prepared), module.state_dict())
    store.publish(prepared, final)


def place(runs: Path, work: Work) -> None:
    """Do the work of an imported tokenizer or model, whose folder is written, here and now; unless it is done.

    Raises:
        EnvironmentProblem: its weights are not in this store, or the runs folder cannot be written.
    """
    folder = runs / work.folder
    final = layout.budget(folder, BUDGET) if work.kind == "import" else layout.result(folder)
    if final.exists():
        return
    try:
        prepared = folder / f".{uuid.uuid4().hex[:8]}"
        prepared.mkdir()
        if work.kind == "import":
            weights = work.identity["weights"]
            store.link_or_copy(weights_path(runs, weights), layout.weights(prepared))
            store.write_json(layout.row_in(prepared), {"weights": weights})
            layout.evaluations(prepared).mkdir()
        else:
            config = read_tokenizer(yaml.tuples(dict(work.config["tokenizer"])))
            store.write_json(layout.report(prepared), place_imported(runs, config, prepared))
        store.publish(prepared, final)
    except OSError as error:
        raise _unwritable(runs, error) from None


def _unwritable(runs: Path, error: OSError) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"the runs folder {runs} cannot be written ({error.strerror or error}); free space, mend its permissions, "
        "or choose another with --runs"
    )


@contextlib.contextmanager
def _remarks() -> Iterator[list[str]]:
    """What readers say of how they read, instead of a log."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    listener = Listener(logging.WARNING)
    state_dicts.log.addHandler(listener)
    before, state_dicts.log.propagate = state_dicts.log.propagate, False
    try:
        yield said
    finally:
        state_dicts.log.removeHandler(listener)
        state_dicts.log.propagate = before


def main(arguments: list[str]) -> int:
    """Read one file; a problem is a sentence on stderr, and the exit code says whose it is."""
    runs, file, given = arguments
    try:
        import_file(Path(runs), Path(file), given_of(json.loads(given)))
    except RequestProblem as problem:
        print(problem, file=sys.stderr)
        return 2
    except EnvironmentProblem as problem:
        print(problem, file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
