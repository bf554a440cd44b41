"""`var-scaling benchmark`: this machine against its own bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from var_scaling import extras
from var_scaling.cli.benchmark_step import step
from var_scaling.cli.options import Json
from var_scaling.cli.run import count, out, print_json
from var_scaling.errors import RequestProblem

if TYPE_CHECKING:
    from var_scaling.evaluation.roofline import Clock
    from var_scaling.evaluation.speed import Speed

CPU_DEPTH, CARD_DEPTH = 8, 16
CPU_BATCHES, CARD_BATCHES = "1,4,16", "1,8,64,256"
# Rows of the paper's table of times whose ratio to VAR-d30 stands beside ours, by case.
PUBLISHED = {"raster": "VQGAN 1.4B", "dit-250": "DiT-XL/2"}
PAPER_SETTINGS = (
    "published: time over VAR-d30 (2.0B parameters, 10 steps), models of other sizes, batched on one GPU, DiT and AR "
    "as released; ours: one size, keys and values cached for both token models, guided, batch 1, decoder left out"
)


def register(app: typer.Typer) -> None:
    """Add `benchmark` to `var-scaling`."""
    group = typer.Typer(
        help="Measure this machine: samples and training steps a second beside its bounds.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command("sampling")(sampling)
    group.command("step")(step)
    app.add_typer(group, name="benchmark")


def sampling(
    depth: Annotated[
        int | None, typer.Option(help="Blocks of every model, of width 64 a block (8 on a CPU, 16 on a GPU).", min=1)
    ] = None,
    batches: Annotated[str | None, typer.Option(help=f"Default {CPU_BATCHES}, on a GPU {CARD_BATCHES}.")] = None,
    runs: Annotated[int, typer.Option(help="Of which the fastest counts, after one to warm up.", min=1)] = 3,
    threads: Annotated[int, typer.Option(help="Of torch on a CPU. With one, CPU seconds are counted.", min=1)] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    models: Annotated[str | None, typer.Option(help="Only these, e.g. var,raster.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Depth 4, batches 1 and 4, no decoders: a minute.")] = False,
    json: Json = False,
) -> None:
    """Images a second and latency of VAR, raster AR and DiT at one size, beside what this machine allows.

    Sizes are the paper's at 256 px: 680 tokens in 10 passes, 16 x 16 tokens in 256, DiT on 256 patches at 250 steps
    (a few timed: they are alike) and 20. Weights are fresh. The bound is made of every product's FLOPs and bytes and of
    matrix and memory rates measured here.

    Examples:

      var-scaling benchmark sampling

      var-scaling benchmark sampling --quick --models var,raster

      var-scaling benchmark sampling --device cuda --depth 30 --batches 1,32 --json
    """
    extras.need("train")
    from var_scaling.evaluation.speed import PAPER

    known = [case.name for case in PAPER]
    chosen = _words(models) if models else known
    if strange := [name for name in chosen if name not in known]:
        raise RequestProblem(f"--models {','.join(strange)}: no such model; there are {', '.join(known)}")
    if device not in ("auto", "cpu", "cuda"):
        raise RequestProblem(f"--device {device}: auto, cpu or cuda")
    asked = None if batches is None else _batches(batches)

    import torch

    from var_scaling.evaluation.roofline import Clock
    from var_scaling.evaluation.speed import measure_speed
    from var_scaling.training.device import choose_device

    place = choose_device(device)
    torch.set_num_threads(threads)
    card = place.type == "cuda"
    depth = depth or (4 if quick else CARD_DEPTH if card else CPU_DEPTH)
    sizes = asked or ([1, 4] if quick else _batches(CARD_BATCHES if card else CPU_BATCHES))
    clock = Clock(place, threads)
    speed = measure_speed(
        [case for case in PAPER if case.name in chosen],
        depth=depth,
        batches=sizes,
        clock=clock,
        runs=runs,
        decoders=not quick,
        told=_told(json),
    )
    document = as_document(speed, depth, clock, runs)
    if json:
        print_json(document)
    else:
        show(document)


def _told(json: bool) -> Any:
    from var_scaling.cli.run import err

    return (lambda words: None) if json else lambda words: err.print(words)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _batches(text: str) -> list[int]:
    try:
        sizes = sorted({int(word) for word in _words(text)})
    except ValueError:
        sizes = []
    if not sizes or sizes[0] < 1:
        raise RequestProblem(f"--batches {text}: whole numbers of images from 1 on with commas between, like 1,4,16")
    return sizes


def as_document(speed: Speed, depth: int, clock: Clock, runs: int) -> dict[str, Any]:
    """Everything as plain values: machine, settings, rows, ratios beside the published ones, crossovers."""
    from analysis import published

    times = published.load("var_table1").set_index("model")["relative_time"]
    first = min(row.batch for row in speed.rows)
    base = speed.row("var", first)
    ratios, crossovers = [], []
    for name in speed.rates:
        row = speed.row(name, first)
        if base is None or row is None or name == "var":
            continue
        model = PUBLISHED.get(name)
        ratios.append(
            {
                "model": name,
                "over": "var",
                "batch": first,
                "seconds": row.seconds / base.seconds,
                "bound": row.bound_seconds / base.bound_seconds,
                "flops": row.flops / base.flops,
                **({} if model is None else {"published": float(times[model]), "published_model": model}),
            }
        )
        crossovers.append({"model": name, "passes": "var", "at_batch": speed.crossover(name, "var")})
    return {
        "schema": 1,
        "settings": {
            "depth": depth,
            "clock": clock.name,
            "threads": clock.threads,
            "device": clock.device.type,
            "runs": runs,
            "parameters": dict(speed.params),
            "samplers": {name: dict(sampler) for name, sampler in speed.samplers.items()},
        },
        "machine": {name: vars(rates) for name, rates in speed.rates.items()},
        "rows": [row.as_dict() for row in speed.rows],
        "ratios": ratios,
        "crossovers": crossovers,
        "published_settings": PAPER_SETTINGS,
    }


def show(document: dict[str, Any]) -> None:
    """The document for a terminal of 80 columns."""
    from var_scaling.cli.tables import new_table

    settings, machine = document["settings"], document["machine"]
    sizes = ", ".join(f"{name} {count(value)}" for name, value in settings["parameters"].items())
    out.print(f"depth {settings['depth']} (parameters: {sizes}), {settings['clock']}, {settings['threads']} thread(s)")
    rates = list(machine.values())
    reads = [rate["read_bytes"] / 1e9 for rate in rates]
    out.print(
        f"this machine: {max(rate['flops'] for rate in rates) / 1e9:,.0f} GFLOP/s in a large product, "
        f"{min(reads):,.0f} to {max(reads):,.0f} GB/s reading what is as large as the weights",
        soft_wrap=True,
    )
    table = new_table(
        "",
        "model",
        "part",
        "batch",
        "latency s",
        "images/s",
        "bound s",
        "of bound",
        "in products",
        left=("model", "part"),
    )
    for row in document["rows"]:
        table.add_row(
            row["case"],
            row["part"] + ("" if row["share_timed"] == 1 else " *"),
            str(row["batch"]),
            f"{row['seconds']:.3g}",
            f"{row['images_per_second']:.3g}",
            f"{row['bound_seconds']:.3g}",
            f"{row['share_of_bound']:.0%}",
            f"{row['share_inside']:.0%}" if row["inside_seconds"] else "-",
        )
    out.print(table)
    if any(row["share_timed"] < 1 for row in document["rows"]):
        out.print("* a few of the sampler's steps timed; they are alike")
    for line in document["ratios"]:
        beside = f"; published {line['published']:g} ({line['published_model']})" if "published" in line else ""
        out.print(
            f"{line['model']} takes {line['seconds']:.3g} times VAR's seconds at batch {line['batch']}; by the bounds "
            f"{line['bound']:.3g}, by FLOPs {line['flops']:.3g}{beside}",
            soft_wrap=True,
        )
    largest = max(row["batch"] for row in document["rows"])
    for line in document["crossovers"]:
        at = line["at_batch"]
        where = f"from batch {at:.3g} on" if at else f"at no batch up to {largest}"
        out.print(f"{line['model']} draws more images a second than VAR {where}", soft_wrap=True)
    if document["ratios"]:
        out.print(document["published_settings"], soft_wrap=True)
