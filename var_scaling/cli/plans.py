"""`var-scaling predict | allocate | expect | design`: plans from laws."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from var_scaling.cli.options import Json
from var_scaling.cli.predictions import print_notes, print_predictions
from var_scaling.cli.rows import Rows, problems_as_requests, with_rows
from var_scaling.cli.run import count, err, out, print_json
from var_scaling.errors import RequestProblem
from var_scaling.runs import layout

if TYPE_CHECKING:
    import pandas as pd

    from analysis.plans.next_runs import NextRuns
    from analysis.study.record import StudyLaws

Target = Annotated[
    str | None, typer.Option("--target", "--y", help="Which loss, error or FID column. Default: the first.")
]
Depth = Annotated[int | None, typer.Option("--depth", help="Depth of the model.", min=1)]
Size = Annotated[float | None, typer.Option("--size", help="Parameters, in place of a depth.", min=0)]
Images = Annotated[
    float | None, typer.Option("--images", help="Images seen. Default: the study's largest budget.", min=0)
]


def register(app: typer.Typer) -> None:
    """Add the four commands to `var-scaling`."""
    for command in (predict, allocate, expect, design):
        app.command(command.__name__)(with_rows(command))


def predict(
    rows: Rows,
    depth: Depth = None,
    images: Images = None,
    size: Size = None,
    target: Annotated[
        str | None, typer.Option("--target", "--y", help="Which loss, error or FID column. Default: all of a study.")
    ] = None,
    json: Json = False,
) -> None:
    """Predict loss, error and FID of a model that was not trained, with intervals.

    Examples:

      var-scaling predict --depth 36

      var-scaling predict runs/sweeps/depth --depth 10 --images 200000 --json
    """
    from analysis import CannotFit
    from analysis.plans.predict import predict_run
    from analysis.rows.counting import amount

    _one_model(depth, size)
    with problems_as_requests():
        study, where = _study(rows, target, every=True)
        params, seen = _point(study, where, depth, size, images)
        answers, refusals = [], []
        for column in study.columns.targets:
            try:
                answers.append(predict_run(study, column, params, seen))
            except CannotFit as refusal:
                refusals.append((column, refusal))
        if not answers:
            raise refusals[0][1]
    if json:
        print_json(
            {
                "params": params,
                "images": seen,
                "predictions": [answer.as_dict() for answer in answers],
                "refused": [{"target": column} | refusal.as_dict() for column, refusal in refusals],
            }
        )
        return
    from rich.text import Text

    words = f"{count(params)} parameters" + ("" if seen is None else f", {amount(study.columns.data, count(seen))}")
    out.print(f"{words} ({study.conventions['N']})")
    print_predictions(answers)
    for column, refusal in refusals:
        out.print(
            Text.assemble(("refused ", "yellow"), f"{column} ({refusal.code}): {refusal.sentence}"),
            soft_wrap=True,
        )


def allocate(
    rows: Rows,
    flops: Annotated[float, typer.Option("--flops", help="Training FLOPs to spend, e.g. 1e21.")],
    device: Annotated[
        str | None, typer.Option("--device", help="For GPU-hours: a device of the rows, or h100, a100.")
    ] = None,
    target: Target = None,
    top: Annotated[int, typer.Option("--top", help="How many candidates to show.", min=1)] = 7,
    json: Json = False,
) -> None:
    """Spend a compute budget: best depth (with its recipe), images, expected loss, device hours.

    Examples:

      var-scaling allocate --flops 1e21 --device h100

      var-scaling allocate runs/sweeps/depth --flops 1e14
    """
    from analysis.plans.allocate import allocate as best_allocation
    from analysis.plans.devices import device_rate
    from analysis.report.files import plain
    from analysis.rows.counting import amount, amount_name, counted
    from analysis.rows.words import target_words

    if not flops > 0:
        raise RequestProblem(f"the budget is {flops:g} FLOPs; give a positive number")
    with problems_as_requests():
        study, where = _study(rows, target)
        candidates, origin = _candidates(study, where)
        plan = best_allocation(study, candidates, flops, study.columns.targets[0])
        rate = device_rate(study.rows, device)
    hours = None if rate is None else flops / rate[0] / 3600
    if json:
        document = {
            "flops": flops,
            "depth": plan.depth,
            "images": plan.images,
            "prediction": plan.prediction.as_dict(),
            "best_size": dict(zip(("params", "low", "high"), plan.continuous, strict=True)),
            "device_hours": hours,
            "device_rate": None if rate is None else {"flops_per_second": rate[0], "source": rate[1]},
            "candidates": origin,
            "notes": [note.as_dict() for note in plan.notes],
            "table": plan.table.to_dict("records"),
        }
        print_json(plain(document))
        return
    from rich.table import Table
    from rich.text import Text

    best = plan.prediction
    size, low, high = plan.continuous
    at = int(plan.table["loss"].argmin())
    chosen = f"{count(plan.table['params'][at])} parameters"
    if plan.depth is not None:
        chosen = f"depth {plan.depth}" + (f" ({chosen})" if plan.table["depth"].duplicated().any() else "")
    out.print(
        Text.assemble(
            (f"{chosen}, {amount(study.columns.data, counted(plan.images))}", "bold"),
            f": {target_words(best.target)} {best.value:.4g} "
            f"[95 %: {best.low:.4g} to {best.high:.4g} for one run]; best size {count(size)} "
            f"[{count(low)} to {count(high)}] parameters",
        ),
        soft_wrap=True,
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    near = plan.table.nsmallest(top, "loss").sort_values("params")
    for name in (
        *(["depth"] if "depth" in near else []),
        "params",
        amount_name(study.columns.data),
        *(["learning rate"] if "learning_rate" in near else []),
        "loss",
        "95 % of the law",
        "best in",
    ):
        table.add_column(name, justify="right")
    for line in near.itertuples():
        table.add_row(
            *([f"{line.depth:g}"] if "depth" in near else []),
            count(line.params),
            counted(line.images),
            *([f"{line.learning_rate:.3g}"] if "learning_rate" in near else []),
            f"{line.loss:.4f}",
            f"{line.low:.4f} to {line.high:.4f}",
            f"{100 * line.chance:.0f} %",
            style="green" if line.Index == at else None,
        )
    out.print(table)
    out.print(f"law: {best.law}; candidates from {origin}", soft_wrap=True)
    if rate is not None:
        out.print(f"{hours:.3g} device hours at {rate[0]:.3g} FLOP/s ({rate[1]})", soft_wrap=True)
    print_notes(plan.notes)


def expect(
    rows: Rows,
    depth: Depth = None,
    images: Images = None,
    size: Size = None,
    loss: Annotated[float | None, typer.Option("--loss", help="Your value: is it normal?")] = None,
    target: Target = None,
    json: Json = False,
) -> None:
    """Answer "is my loss normal": what the law expects of a run, with the interval for one run.

    Examples:

      var-scaling expect --depth 8 --images 1e6

      var-scaling expect --depth 8 --images 1e6 --loss 3.31
    """
    from rich.text import Text

    from analysis.plans.expect import expect as expectation

    _one_model(depth, size)
    with problems_as_requests():
        study, where = _study(rows, target)
        params, seen = _point(study, where, depth, size, images)
        answer = expectation(study, study.columns.targets[0], params, seen, loss)
    if json:
        print_json(
            answer.prediction.as_dict()
            | {"measured": answer.measured, "verdict": answer.verdict, "deviation": answer.deviation}
        )
        return
    if answer.measured is not None:
        colour = "green" if answer.verdict == "normal" else "yellow"
        out.print(
            Text.assemble(
                f"{answer.measured:.4g} is ",
                (answer.verdict, colour),
                f": {answer.deviation:+.1f} standard deviations of a new run from the law",
            ),
        )
    print_predictions([answer.prediction])


def design(
    rows: Rows,
    quantity: Annotated[
        str, typer.Option("--quantity", help="alpha, beta, E, a_opt, ... or loss (with --depth or --size)")
    ] = "alpha",
    depth: Depth = None,
    size: Size = None,
    images: Images = None,
    most: Annotated[float | None, typer.Option("--flops", help="The most FLOPs that one new trial may cost.")] = None,
    target: Target = None,
    top: Annotated[int, typer.Option("--top", help="How many trials to propose.", min=1)] = 8,
    json: Json = False,
) -> None:
    """Propose which trials to add: those that shrink a quantity's interval most for their FLOPs.

    For the loss of a model, also what its interval is expected to become for each sum spent.

    Examples:

      var-scaling design --quantity a_opt --flops 1e15

      var-scaling design --quantity loss --depth 36 --images 4e8
    """
    from analysis.plans.design import design as best_design
    from analysis.plans.next_runs import next_runs
    from analysis.report.files import plain
    from analysis.rows.counting import amount_name, counted

    if quantity == "loss":
        _one_model(depth, size)
    with problems_as_requests():
        study, where = _study(rows, target)
        candidates, origin = _candidates(study, where)
        if quantity == "loss":
            at = _point(study, where, depth, size, images)
            _print_next_runs(next_runs(study, candidates, at, most_flops=most, n=top), study, origin, json)
            return
        found = best_design(study, candidates, quantity, study.columns.targets[0], most_flops=most)
    if json:
        trials = found.table.to_dict("records")
        print_json(plain({"quantity": quantity, "law": found.law, "candidates": origin, "trials": trials}))
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", title=f"trials that narrow {quantity} most per FLOP")
    with_depth = "depth" in found.table
    for name in (
        *(["depth"] if with_depth else []),
        "params",
        amount_name(study.columns.data),
        "FLOPs",
        "narrows the interval by",
        "per FLOP, of the best",
    ):
        table.add_column(name, justify="right")
    for line in found.table.head(top).itertuples():
        table.add_row(
            *([f"{line.depth}"] if with_depth else []),
            count(line.params),
            counted(line.images),
            count(line.flops),
            f"{100 * line.shrinks:.1f} %",
            f"{100 * line.per_flop:.0f} %",
        )
    out.print(table)
    trial = f"each with the {found.budgets} budgets of its trunk" if found.budgets > 1 else "each of one row"
    out.print(f"local design about {found.law}; candidates from {origin}; {trial}", soft_wrap=True)


def _print_next_runs(found: NextRuns, study: StudyLaws, origin: str, json: bool) -> None:
    """The runs to make, in order, and the interval that each sum is expected to leave."""
    from analysis.report.files import plain
    from analysis.rows.counting import amount_name, counted

    if json:
        answer = {
            "quantity": "loss",
            "value": found.value,
            "low": found.low,
            "high": found.high,
            "planned_flops": found.planned,
        }
        answer |= {"forms": found.weights, "candidates": origin, "trials": found.trials.to_dict("records")}
        print_json(plain(answer | {"outlook": found.outlook.to_dict("records")}))
        return
    from rich.table import Table

    out.print(f"loss {found.value:.4g} [{found.low:.4g} to {found.high:.4g}] as the rows stand", soft_wrap=True)
    runs = Table(box=None, pad_edge=False, header_style="bold", title="runs to add, the most telling first")
    with_depth = "depth" in found.trials
    for name in (*(["depth"] if with_depth else []), "params", amount_name(study.columns.data), "FLOPs"):
        runs.add_column(name, justify="right")
    for line in found.trials.itertuples():
        depth = [f"{line.depth}"] if with_depth else []
        runs.add_row(*depth, count(line.params), counted(line.images), count(line.flops))
    sums = Table(box=None, pad_edge=False, header_style="bold", title="what the interval is expected to become")
    for name in ("FLOPs to spend", "runs", "FLOPs of those", "half-width"):
        sums.add_column(name, justify="right")
    for line in found.outlook.itertuples():
        sums.add_row(count(line.spend), f"{line.runs}", count(line.cost), f"{100 * line.half_width:.2g} %")
    out.print(runs)
    out.print(sums)
    forms = ", ".join(f"{name} {100 * weight:.0f} %" for name, weight in found.weights.items())
    out.print(
        f"the runs begin a plan for {count(found.planned)} FLOPs; forms: {forms}; candidates from {origin}; "
        "docs/design.md says when to trust it",
        soft_wrap=True,
    )


def _study(rows: Rows, target: str | None, every: bool = False) -> tuple[StudyLaws, Path]:
    """The laws of one target, the first where none is asked for; or then with `every` of all that a study has."""
    from rich.text import Text

    from analysis.rows.columns import STUDY_TARGETS

    where = rows.locate()
    targets = None if target is None else (target,)
    if targets is None and not every and not where.is_file():
        targets = STUDY_TARGETS[:1]
    with err.status(Text(f"fitting {where}")):
        return rows.laws(where, targets), where


def _one_model(depth: int | None, size: float | None) -> None:
    """Asked before the slow part: a model is named by its depth or its size."""
    if (depth is None) == (size is None):
        raise RequestProblem("say which model: --depth N, or --size PARAMETERS (one of the two)")


def _candidates(study: StudyLaws, where: Path) -> tuple[pd.DataFrame, str]:
    """Models to choose from: by the sweep's own recipe, as launched, where its YAML is there, else the rows' sizes."""
    from analysis.plans.candidates import candidates_of_rows

    file = layout.study_source(where)
    if file.is_file():
        import pandas as pd

        from var_scaling.launch.sweep import last_launch
        from var_scaling.planning.candidates import candidate_table
        from var_scaling.planning.study import load_study
        from var_scaling.planning.tuned import recipe_of_launch

        how = last_launch(where).how
        recipe = recipe_of_launch(how)
        study_file, configs = load_study(file, how.get("set", ()))
        changed = [f"--set {text}" for text in how.get("set", ())] + ([f"recipe {recipe.name}"] if recipe else [])
        table = pd.DataFrame(candidate_table(study_file, configs, recipe))
        return table, f"the recipe of {file}" + (f" with {', '.join(changed)}" if changed else "")
    return candidates_of_rows(study.rows, study.columns), "the sizes in the rows"


def _point(
    study: StudyLaws, where: Path, depth: int | None, size: float | None, images: float | None
) -> tuple[float, float | None]:
    """Parameters and images of a model that is asked about; no images where the rows know of none."""
    from analysis.plans.candidates import candidate

    if study.columns.params is None:
        raise RequestProblem("the rows name no column of sizes (--x), so no law in size can answer")
    if study.columns.data is None and images is not None:
        raise RequestProblem("the rows name no data column (--data): leave out --images")
    seen = float(study.rows[study.columns.data].max()) if images is None and study.columns.data else images
    if size is not None:
        return float(size), seen
    table, _ = _candidates(study, where)
    return float(candidate(table, depth)[study.columns.params]), seen
