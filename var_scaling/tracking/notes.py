"""What is said on the pages of an experiment, a launch and a trial, in Markdown. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from var_scaling.tracking.rows import flops_text, headline, short

TAG = "mlflow.note.content"
MOST_CHARACTERS = 4_800  # an experiment's tag takes 5,000

Measured = tuple[Mapping[str, Any], Mapping[str, Mapping[str, Any]]]  # a row, and its evaluations by label


def note(title: str, description: str, law: str, measured: Sequence[Measured]) -> str:
    """The headline law and a table of the rows, the best first and as many as a tag takes."""
    parts = [f"**{title}**" + (f": {description[:500]}" if description else "")]
    if law:
        parts.append(law)
    if measured:
        parts.append(table(measured, MOST_CHARACTERS - sum(map(len, parts)) - 100))
    return "\n\n".join(parts)


def table(measured: Sequence[Measured], most: int) -> str:
    """Model, parameters, images, FLOPs, loss, token error and every FID with its interval, in Markdown.

    Args:
        measured: rows with their evaluations.
        most: characters; the rows beyond are counted.
    """
    labels = list(dict.fromkeys(label for _, evaluations in measured for label in evaluations))
    columns = ["model", "parameters", "images", "FLOPs", "loss", "error", *(f"FID {label}" for label in labels)]
    lines = ["| " + " | ".join(columns) + " |", "|" + " ---: |" * len(columns)]
    best = sorted(measured, key=_worth(labels))
    for row, evaluations in best:
        loss = headline(row)
        cells = [
            f"{row['family']} d{row['depth']} s{row['seed']}",
            short(row["params_total"]),
            short(row["images_seen"]),
            flops_text(row["train_flops"]),
            f"{row[loss]:.4f}" if loss else "",
            f"{row['error_all_scales']:.4f}" if "error_all_scales" in row else "",
            *(_fid(evaluations.get(label)) for label in labels),
        ]
        lines.append("| " + " | ".join(cells) + " |")
        if sum(len(line) + 1 for line in lines) > most:
            lines[-1] = f"\n{len(best) - len(lines) + 3} more are in the table of runs."
            break
    return "\n".join(lines)


def _worth(labels: Sequence[str]) -> Any:
    """Sorts by the first FID, and by family and loss where there is none: losses of two families do not compare."""

    def key(measured: Measured) -> tuple[Any, ...]:
        row, evaluations = measured
        fid = evaluations.get(labels[0], {}).get("fid_corrected") if labels else None
        loss = headline(row)
        return (fid is None, fid or 0.0, row["family"], row[loss] if loss else 0.0)

    return key


def _fid(evaluation: Mapping[str, Any] | None) -> str:
    if not evaluation or "fid_corrected" not in evaluation:
        return ""
    interval = f" ({evaluation['fid_low']:.2f} to {evaluation['fid_high']:.2f})" if "fid_low" in evaluation else ""
    return f"{evaluation['fid_corrected']:.2f}{interval}"
