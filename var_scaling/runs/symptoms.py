"""Signs that finished work is ill, as sentences: what a row or a report shows and nobody would say otherwise.

Each reads what lies on disk and nothing else. A threshold stands here with its reason, and nowhere a second time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from var_scaling.runs import layout, store
from var_scaling.runs.evaluations import read_evaluations

Report = Mapping[str, Any]

# Share of the codes that validation images use, of what as many tokens drawn evenly would use. Codebooks in order use
# 90 to 100 % here; the collapsed ones that were met used 0.2 and 2 %.
COLLAPSED_BELOW = 0.1
# What a model knows beyond how often each code occurs at each scale, as a share of that entropy. The smallest models of
# the demo (depth 2, 10,240 garments) gained about a fifth; models of colour photographs whose samples had no shape and
# whose tokens were 98 % wrong, less than a tenth.
LEARNT_ABOVE = 0.1
# Entropy in nats below which the tokens are almost constants, so that a loss near zero says nothing of a model.
CONSTANT_BELOW = 0.1
# Shares of the classes may differ by this much in all (half the sum of differences) before it shows: at 2 % two classes
# five standard deviations apart move a FID by about 0.01.
SHARES_DIFFER_ABOVE = 0.02
# Share of samples that are copies of training images, above what images that nobody learnt have: of 1,250 garments'
# validation images 0.3 % pass for one, of the training images themselves all (evaluation/copies.py).
COPIES_ABOVE = 0.02
# Samples that a network takes for the class that was asked for, in shares of guessing: a model that does not look at
# its label has 1, and the smallest models of the demo more than six.
CLASSES_TOLD_ABOVE = 2.0


def of_guidance(label_drop: float, guidances: Iterable[tuple[float, float]]) -> Iterator[str]:
    """Guidance that cannot do what its number says, given each number and its mean over a sample's tokens."""
    guidances = dict.fromkeys(pair for pair in guidances if pair[0])
    strengths = ", ".join(f"{each:g}" for each, _ in guidances)
    if not strengths:
        return
    if label_drop == 0:
        yield (
            f"guidance {strengths} without label dropout (train.label_drop 0): the class of no label is never trained, "
            "so samples are pushed away from noise; use guidance 0, or train with label dropout (0.1)"
        )
    if any(mean == 0 for _, mean in guidances):
        yield (
            f"guidance {strengths} with a single scale has no effect: it rises from 0 at the first scale, which is the "
            "only one; read its numbers as guidance 0"
        )


def of_tokenizer(report: Report, vocab_size: int) -> Iterator[str]:
    """A codebook that has collapsed, from the tokenizer's own report or that of its reconstructions."""
    usage = report.get("usage")
    tokens = _tokens(report)
    if usage is None or not tokens:
        return
    even = -math.expm1(tokens * math.log1p(-1 / vocab_size)) if vocab_size > 1 else 1.0
    if usage < COLLAPSED_BELOW * even:
        yield (
            f"the codebook has collapsed: {round(usage * vocab_size)} of {vocab_size} codes are used ({usage:.1%}); a "
            "low loss of a model behind it is no merit: train the tokenizer longer, or make it otherwise"
        )


def of_reconstructions(report: Report, sanity: Sequence[Report] | None) -> Iterator[str]:
    """A tokenizer that is worse than shrinking its images, a floor that cannot be had, or a floor of other classes."""
    found = {str(row["images"]): row["fid_corrected"] for row in sanity or ()}
    thumbnails = next((value for name, value in found.items() if name.startswith("shrunk")), None)
    if thumbnails is not None and "reconstructed" in found and found["reconstructed"] > thumbnails:
        yield (
            f"the tokenizer is worse than its images shrunk to 8x8 pixels and back (rFID {found['reconstructed']:.2f}, "
            f"theirs {thumbnails:.2f}): no model behind it can be better; use a larger preset or train it longer"
        )
    if report.get("class_share_gap", 0.0) > SHARES_DIFFER_ABOVE:
        yield (
            f"validation and training images have other class shares (they differ by {report['class_share_gap']:.0%}): "
            "the tokenizer's rFID against the training images holds that difference, and FIDs of samples do not"
        )
    if "note" in report:
        yield f"no rFID of the tokenizer: {report['note']}"


def of_row(row: Report, tokenizer: Report) -> Iterator[str]:
    """A model that has learnt no more than how often each code occurs, or whose tokens leave nothing to learn."""
    loss, vocab_size = row.get("loss_all_scales"), row.get("vocab_size")
    known = _entropy(tokenizer, vocab_size) if vocab_size else None
    if known is None or loss is None:
        return
    if known < CONSTANT_BELOW:
        yield f"the tokens are almost constants ({known:.3f} nats each): a loss of {loss:.4f} says nothing of the model"
    elif loss > (1 - LEARNT_ABOVE) * known:
        gain = f"{1 - loss / known:.0%} below" if loss < known else "not below"
        yield (
            f"has hardly learnt: its loss of {loss:.2f} nats is {gain} {known:.2f}, what knowing "
            f"how often each code occurs gives ({row['error_all_scales']:.0%} of its tokens are wrong); laws of such "
            "models say little: train longer, or use a tokenizer whose tokens can be told"
        )


def of_evaluation(evaluation: Report) -> Iterator[str]:
    """A FID that was not had, or one that measures its reference's size."""
    if "note" in evaluation:
        yield f"no FID {evaluation.get('label', '')}: {evaluation['note']}"
    copies, chance = evaluation.get("copies", 0.0), evaluation.get("copies_by_chance", 0.0)
    if copies > chance + COPIES_ABOVE:
        yield (
            f"{copies:.0%} of its samples are copies of training images (of images that it never saw {chance:.1%} "
            "would pass for one): it has learnt them by heart, and its FID praises that; use more unique images or "
            "fewer epochs"
        )
    agreement, classes = evaluation.get("class_agreement", 1.0), evaluation.get("classes", 1)
    if classes > 1 and agreement * classes < CLASSES_TOLD_ABOVE:
        yield (
            f"its samples are hardly of the class that was asked for: a network that tells the {classes} classes "
            f"apart agrees with {agreement:.0%} of them, and guessing would have {1 / classes:.0%}; train longer, or "
            "raise guidance"
        )
    bias = evaluation.get("fid_reference_bias", 0.0)
    if "fid_high" in evaluation and bias > evaluation["fid_high"] - evaluation["fid_corrected"]:
        yield (
            f"FID {evaluation.get('label', '')}: its reference of {evaluation['reference_images']:,} images alone adds "
            "about as much as its interval is wide, or more (fid_reference_bias); compare it only within this reference"
        )


def of_blindness(evaluation: Report, sanity: Sequence[Report] | None) -> Iterator[str]:
    """A FID below that of real images which anyone sees to be blurred, in features of what tells classes apart."""
    blurred = next((row["fid_corrected"] for row in sanity or () if str(row["images"]).startswith("blurred")), None)
    found = evaluation.get("fid_corrected")
    if evaluation.get("features") == "classifier" and blurred is not None and found is not None and found < blurred:
        yield (
            f"FID {evaluation.get('label', '')} lies below that of real images under a 3x3 blur ({blurred:.2f}): these "
            "features do not see all that a person sees; look at the samples, or measure with features: shape"
        )


def of_sweep(runs: Path, study: Report) -> list[str]:
    """All that is to be said of a sweep, each once, with the trials that it holds for.

    Args:
        runs: the runs folder.
        study: its study.json.
    """
    found: dict[str, list[str]] = {}
    for entry in study["trials"]:
        name = str(entry["folder"]).partition("-")[2][:-4]
        stages = {layout.kind_of_stage(each): layout.result(runs / each) for each in entry.get("stages", ())}
        tokenizer = store.read_json(layout.report(stages["tokenizer"])) or {} if "tokenizer" in stages else {}
        report: Report = {}
        sanity = None
        if "reconstruction" in stages:
            report = store.read_json(layout.report(stages["reconstruction"])) or {}
            sanity = store.read_json(layout.sanity(stages["reconstruction"]))
        last: tuple[str, ...] = ()
        for budget in entry["budgets"]:
            folder = layout.budget(layout.trial(runs, entry["folder"]), budget["images"])
            row = store.read_json(layout.row_in(folder))
            if row is None:
                continue
            evaluations = read_evaluations(folder, entry["evaluations"]).values()
            guidances = [(e["guidance"], e.get("guidance_mean", 1.0)) for e in evaluations if "guidance" in e]
            last = (  # a column that an older release or another family does not write says nothing
                *of_guidance(row.get("label_drop", 1.0), guidances),
                *(of_tokenizer(tokenizer, row["vocab_size"]) if "vocab_size" in row else ()),
                *of_row(row, tokenizer),
                *(words for each in evaluations for words in of_evaluation(each)),
                *(
                    words
                    for e in evaluations
                    if e.get("network") == report.get("network")
                    for words in of_blindness(e, sanity)
                ),
            )
        for words in last:  # of the largest budget: a small one may well have learnt little
            found.setdefault(words, []).append(name)
        for words in of_reconstructions(report, sanity):
            found.setdefault(words, []).append(name)
    return [f"{_names(names, len(study['trials']))}: {words}" for words, names in found.items()]


def _names(names: list[str], trials: int) -> str:
    if len(names) == trials and trials > 1:
        return "all trials"
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _tokens(report: Report) -> int:
    """Tokens that a report counted: those of its images, at all scales."""
    sides = [int(side) for side in report.get("usage_per_scale", ())]
    return int(report.get("validation_images", 0)) * sum(side * side for side in sides)


def _entropy(report: Report, vocab_size: int) -> float | None:
    """Nats a token of knowing each scale's code frequencies; None without a report.

    A sample's own entropy is too low by (codes used - 1) / (2 tokens) (Miller 1955), which is added.
    """
    per_scale, images = report.get("perplexity_per_scale"), int(report.get("validation_images", 0))
    if not per_scale or not images:
        return None
    total = nats = 0.0
    for side, perplexity in per_scale.items():
        tokens = int(side) ** 2
        used = report["usage_per_scale"][side] * vocab_size
        entropy = math.log(perplexity) + (used - 1) / (2 * images * tokens)
        nats += tokens * min(entropy, math.log(vocab_size))
        total += tokens
    return nats / total
