"""`python -m var_scaling.worker FOLDER`: does the work of one folder on the machine it stands on.

The folder says what (identity.json, config.yaml, needs.json, and asked/ for a trial); the worker claims it, does what is
missing, publishes, and leaves why it ended in its attempt. The exit code is a hint for launchers; the truth is on disk.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

import var_scaling
from var_scaling import store
from var_scaling.config import yaml
from var_scaling.config.data import DataConfig
from var_scaling.config.evaluate import ClassifierConfig, FidEvaluation
from var_scaling.config.tokenizer import TokenizerConfig
from var_scaling.config.train import ExecutionConfig, PlacementConfig
from var_scaling.config.trial import TrialConfig
from var_scaling.errors import EnvironmentProblem
from var_scaling.exits import EXIT_BLOCKED, EXIT_DONE, EXIT_FAILED, EXIT_HELD, EXIT_STOPPED
from var_scaling.store import Attempt
from var_scaling.tracking.journal import Journal
from var_scaling.training.failures import Diverged


def main(folder: Path) -> int:
    """Claim the folder and do what is missing there; returns the exit code."""
    runs = folder.parents[1] if folder.parent.name == "trials" else folder.parents[2]
    kind = store.read_json(folder / "identity.json")["kind"]
    missing = [need for need in store.read_json(folder / "needs.json") if not (runs / need / "result").exists()]
    try:
        attempt = store.take(folder, take_over=os.environ.get("VAR_SCALING_TAKE_OVER") == "1")
    except store.Held as held:
        print(held, flush=True)
        return EXIT_HELD
    if missing:
        attempt.end("blocked", message=f"not built yet: {', '.join(missing)}")
        return EXIT_BLOCKED
    _redirect_output(attempt.folder / "log.txt")
    attempt.journal = Journal(attempt.folder / "journal.jsonl")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda *_: attempt.stop.set())  # a flag and nothing else; the loop looks at it
    try:
        config = yaml.load(folder / "config.yaml")[0]
        execution = ExecutionConfig.model_validate(config["execution"])
        torch.set_num_threads(execution.threads)
        _WORK[kind](Context(runs, folder, config, attempt, execution))
        attempt.end("finished")
        return EXIT_DONE
    except store.Stopped:
        attempt.end("stopped")
        return EXIT_STOPPED
    except store.Lost as lost:
        print(lost, flush=True)  # the folder is another's now: leave without writing to it
        return EXIT_HELD
    except Exception as error:
        traceback.print_exc()
        cause, message = classify(error)
        attempt.end(cause, message=message, place=_place(error))
        return EXIT_FAILED


class Context:
    """What every kind of work is given."""

    def __init__(
        self, runs: Path, folder: Path, config: Mapping[str, Any], attempt: Attempt, execution: ExecutionConfig
    ) -> None:
        self.runs, self.folder, self.config, self.attempt, self.execution = runs, folder, config, attempt, execution
        self.placement = PlacementConfig.model_validate(config["placement"])
        self.needs = {need.split("/")[1]: runs / need / "result" for need in store.read_json(folder / "needs.json")}
        wanted = self.placement.device
        self.device = torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")
        if wanted == "cuda" and self.device.type != "cuda":
            raise EnvironmentProblem("placement.device is cuda, but torch finds no GPU here; use cpu or auto")

    def images(self, data: DataConfig) -> Any:
        from var_scaling.data.images import load_images

        return load_images(data, image_folder=self.placement.image_folder, workers=max(1, self.execution.loader_workers))

    def tokenizer(self, folder: Path | None = None) -> Any:
        """The trained tokenizer, frozen."""
        from safetensors.torch import load_file

        from var_scaling.models.tokenizer import build_tokenizer

        folder = folder or self.needs["tokenizer"]
        work = yaml.load(folder.parent / "config.yaml")[0]
        tokenizer = build_tokenizer(TokenizerConfig.model_validate(work["tokenizer"]))
        tokenizer.load_state_dict(load_file(folder / "weights.safetensors"))
        return tokenizer.to(self.device).eval().requires_grad_(False)

    def publish(self, build: Callable[[Path], Any]) -> None:
        """Let a builder fill a folder, then put it in place as `result/`."""
        out = self.attempt.scratch("result")
        report = build(out)
        if isinstance(report, dict) and not (out / "report.json").exists():
            store.write_json(out / "report.json", report)
        self.attempt.check_owner()
        store.publish(out, self.folder / "result")
        shutil.rmtree(self.attempt.folder / "checkpoints", ignore_errors=True)


def _tokenizer(context: Context) -> None:
    from var_scaling.training.tokenizer import train_tokenizer

    config = TokenizerConfig.model_validate(context.config["tokenizer"])
    images = context.images(DataConfig.model_validate(context.config["data"]))
    context.publish(
        lambda out: train_tokenizer(
            config,
            images,
            attempt=context.attempt,
            out=out,
            device=context.device,
            threads=context.execution.threads,
        )
    )


def _classifier(context: Context) -> None:
    from var_scaling.evaluation.classifier import train_classifier

    data = DataConfig.model_validate(context.config["data"])
    recipe = ClassifierConfig.model_validate(context.config["classifier"])
    images = context.images(data)
    context.publish(
        lambda out: train_classifier(
            data,
            images,
            config=recipe,
            attempt=context.attempt,
            out=out,
            device=context.device,
            threads=context.execution.threads,
        )
    )


def _tokens(context: Context) -> None:
    from var_scaling.data.tokens import build_tokens

    data = DataConfig.model_validate(context.config["data"])
    images, tokenizer = context.images(data), context.tokenizer()
    context.publish(
        lambda out: build_tokens(data, images, tokenizer, attempt=context.attempt, out=out, device=context.device)
    )


def _reconstruction(context: Context) -> None:
    from var_scaling.evaluation.fid import evaluate_tokenizer

    evaluation = FidEvaluation.model_validate(context.config["evaluation"])
    images = context.images(evaluation.data)
    context.publish(
        lambda out: evaluate_tokenizer(
            context.tokenizer(),
            evaluation,
            images,
            extractor_folder=context.needs.get("classifier"),
            cache=context.runs / "store" / "features",
            out=out,
            attempt=context.attempt,
            device=context.device,
            weights=context.placement.feature_weights,
        )
    )


def _trial(context: Context) -> None:
    from var_scaling.data.tokens import open_tokens
    from var_scaling.training.trial import train_budgets

    config = TrialConfig.model_validate(context.config)
    tokenizer = context.tokenizer()
    cache = open_tokens(context.needs["tokens"], tokenizer)
    provenance = {
        "device": _device_name(context.device),
        "host": context.attempt.holder.host,
        "threads": context.execution.threads,
        "code": code_hash(),
        "data": cache.meta["data_hash"],
        "tokenizer": cache.meta["tokenizer_hash"],
    }
    while True:  # a launch may ask for more while this runs
        asked = read_asked(context.folder)
        train_budgets(config, asked.budgets, cache, tokenizer, context.attempt, context.device, provenance)
        _evaluate(context, config, asked, tokenizer)
        if read_asked(context.folder) == asked:
            return


class Asked:
    """The union of what all studies ask of a trial."""

    def __init__(self, requests: list[Mapping[str, Any]]) -> None:
        self.budgets = tuple(sorted({b for r in requests for b in r["budgets"]}))
        self.evaluations: dict[int, dict[str, Mapping[str, Any]]] = {b: {} for b in self.budgets}
        self.grids: dict[int, int] = {}
        for request in requests:
            for budget in request["budgets"]:
                self.evaluations[budget].update({e["name"]: e for e in request["evaluations"]})
                if request["samples_grid"] != "off":
                    self.grids[budget] = max(self.grids.get(budget, 0), request["samples_grid"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Asked) and vars(self) == vars(other)


def read_asked(folder: Path) -> Asked:
    """What the files in asked/ say now."""
    values = [store.read_json(path) for path in sorted((folder / "asked").glob("*.json"))]
    return Asked([value for value in values if value])


def _evaluate(context: Context, config: TrialConfig, asked: Asked, tokenizer: Any) -> None:
    """Sample grids and metrics that are asked for and missing, from the annealed weights; trains nothing."""
    from safetensors.torch import load_file

    from var_scaling.evaluation.fid import evaluate_model
    from var_scaling.evaluation.generation import sample_grid
    from var_scaling.models.var import build_var

    var = None
    todo = [(budget, evaluation) for budget in asked.budgets for evaluation in asked.evaluations[budget].values()]
    for done, budget in enumerate(asked.budgets):
        folder = context.folder / "budgets" / str(budget)
        missing = [e for e in asked.evaluations[budget].values() if not (folder / "evaluations" / e["name"]).exists()]
        grid = folder / "samples.png" if budget in asked.grids and not (folder / "samples.png").exists() else None
        if not missing and not grid:
            continue
        if context.attempt.stop_requested():
            raise context.attempt.stopped()
        context.attempt.progress(done, len(todo), f"evaluating {budget:,} images")
        var = var or build_var(config.model).to(context.device).eval()
        var.load_state_dict(load_file(folder / "weights.safetensors"))
        if grid:
            picture = context.attempt.folder / "samples.png"
            sample_grid(var, tokenizer, per_class=asked.grids[budget], path=picture, device=context.device)
            os.replace(picture, grid)
        for request in missing:
            evaluation = FidEvaluation.model_validate(request["config"])
            result = evaluate_model(
                var,
                tokenizer,
                evaluation,
                context.images(evaluation.data),
                extractor_folder=context.runs / request["classifier"] / "result" if request["classifier"] else None,
                cache=context.runs / "store" / "features",
                attempt=context.attempt,
                device=context.device,
                weights=context.placement.feature_weights,
            )
            floor = store.read_json(context.runs / request["reconstruction"] / "result" / "report.json")
            if floor:
                result["tokenizer_rfid"] = floor[f"rfid_{evaluation.fid.reference}"]
            context.attempt.check_owner()
            store.write_json(folder / "evaluations" / request["name"], result)


_WORK: dict[str, Callable[[Context], None]] = {
    "tokenizer": _tokenizer,
    "classifier": _classifier,
    "tokens": _tokens,
    "reconstruction": _reconstruction,
    "trial": _trial,
}


# ---- ends -----------------------------------------------------------------------------------------------------------


def classify(error: BaseException) -> tuple[str, str]:
    """The cause of a failure in the words of DESIGN, and one sentence."""
    text = str(error).strip() or type(error).__name__
    if isinstance(error, Diverged):
        return "diverged", text
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return "out-of-gpu-memory", text.splitlines()[0]
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        return "out-of-host-memory", text.splitlines()[0]
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
        return "disk", f"{os.strerror(error.errno)}: {error.filename or 'the runs folder'}"
    if isinstance(error, EnvironmentProblem):
        return "data", text
    return "code", f"{type(error).__name__}: {text.splitlines()[0]}"


def _place(error: BaseException) -> str:
    """The last frame of our own code: with the cause, the fingerprint of a failure."""
    ours = [
        frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(_package())
    ]
    frame = (ours or traceback.extract_tb(error.__traceback__))[-1]
    return f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"


def _package() -> Path:
    return Path(var_scaling.__file__).parent


def code_hash() -> str:
    """Hash of our own sources, as they are imported here."""
    whole = hashlib.sha256()
    for path in sorted(_package().rglob("*.py")):
        whole.update(path.relative_to(_package()).as_posix().encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()[:12]


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name")) + " (CPU)"
    except (OSError, StopIteration):
        return "CPU"


def _redirect_output(path: Path) -> None:
    """Everything printed from here on goes to the attempt's own log."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
