"""`var-scaling benchmark step`: training steps of this machine beside its own matrix rate."""

from __future__ import annotations

from typing import Annotated

import typer

from var_scaling import extras
from var_scaling.cli.options import Json
from var_scaling.cli.run import count, err, out, print_json
from var_scaling.errors import RequestProblem

DEMO = {"model": {"head_dim": 16}}
PAPER = {"data": {"name": "imagenet"}, "tokenizer": {"preset": "paper"}}  # 680 tokens, heads of 64


def step(
    depths: Annotated[str, typer.Option(help="Of the models, with commas between.")] = "2,4,6,8",
    batch: Annotated[int, typer.Option(help="Images a step.", min=1)] = 64,
    paper: Annotated[bool, typer.Option("--paper", help="The paper's sizes at 256 px, not the demo's.")] = False,
    set_: Annotated[list[str], typer.Option("--set", help="Any field, e.g. train.precision=bfloat16.")] = [],  # noqa: B006
    threads: Annotated[int, typer.Option(help="Of torch on a CPU. With one, CPU seconds are counted.", min=1)] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    runs: Annotated[int, typer.Option(help="Of which the fastest counts, after two to warm up.", min=1)] = 5,
    json: Json = False,
) -> None:
    """Images a second of a training step with tokens given, and its share of this machine's matrix rate.

    FLOPs are those of the model as it is computed; the rate is that of a large product at the same precision, measured
    first. With one thread on a CPU seconds are CPU seconds, so that a busy machine shows least.

    Examples:

      var-scaling benchmark step

      var-scaling benchmark step --paper --depths 16 --batch 4

      var-scaling benchmark step --device cuda --paper --depths 16,30 --set train.precision=bfloat16

      var-scaling benchmark step --set model.family=dit --set tokenizer.preset=tiny-kl --depths 3
    """
    extras.need("train")
    try:
        sizes = [int(word) for word in depths.split(",")]
    except ValueError:
        raise RequestProblem(f"--depths {depths}: whole numbers with commas between, like 2,4,6,8") from None
    if device not in ("auto", "cpu", "cuda"):
        raise RequestProblem(f"--device {device}: auto, cpu or cuda")

    import torch

    from var_scaling.cli.tables import new_table
    from var_scaling.config import yaml
    from var_scaling.evaluation.roofline import Clock, matrix_rate
    from var_scaling.planning.resolve import resolve
    from var_scaling.planning.study import parse_study
    from var_scaling.training.device import choose_device, set_precision
    from var_scaling.training.timing import step_speed

    base = {**(PAPER if paper else DEMO), "train": {"batch_size": batch}}
    study = {"name": "benchmark", "base": base, "grid": {"model.depth": sizes}, "budgets": {"images": [10**9]}}
    configs = [resolve(config) for config in parse_study(yaml.dump(study), "benchmark", set_)[1]]
    precision = configs[0].train.precision
    place = choose_device(device)
    torch.set_num_threads(threads)
    clock = Clock(place, threads)
    set_precision(place, precision)
    with torch.autocast(place.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        matrix = matrix_rate(clock)
    rows = []
    for config in configs:
        if not json:
            err.print(f"d{config.model.depth} ...")
        rows.append(step_speed(config, clock, matrix, runs))
    if json:
        print_json(
            {
                "schema": 1,
                "settings": {"clock": clock.name, "threads": threads, "device": place.type, "precision": precision},
                "matrix_flops_per_second": matrix,
                "rows": [row.as_dict() for row in rows],
            }
        )
        return
    out.print(f"{clock.name}, {threads} thread(s), {precision}; a large product runs at {matrix / 1e9:,.0f} GFLOP/s")
    table = new_table("", "depth", "params", "tokens", "batch", "s a step", "images/s", "GFLOP/s", "of product")
    for row in rows:
        table.add_row(
            f"d{row.depth}",
            count(row.params),
            str(row.tokens),
            str(row.batch),
            f"{row.seconds:.3g}",
            f"{row.images_per_second:.3g}",
            f"{row.flops_per_second / 1e9:,.1f}",
            f"{row.share:.0%}",
        )
    out.print(table)
