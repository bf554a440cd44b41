"""The evaluation of one trained model: samples, their features, and every metric that can be had from them.

Dimension key: n samples, D features, Y classes of the feature network.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from var_scaling.config.evaluate import SAMPLES_PER_DIMENSION, FidConfig, FidEvaluation
from var_scaling.data.images import Images
from var_scaling.evaluation.copies import BELOW, TrainingImages
from var_scaling.evaluation.features import (
    Extractor,
    ReferenceFeatures,
    evaluation_extractor,
    load_extractor,
    reference_features,
)
from var_scaling.evaluation.frechet import (
    Reference,
    frechet,
    inception_score,
    kernel_distance,
    precision_recall,
    reference_bias,
)
from var_scaling.evaluation.generation import Trained, generate, labels_by_share
from var_scaling.evaluation.reconstruction import evaluate_tokenizer
from var_scaling.evaluation.selection import Everything, Selection
from var_scaling.families.base import SamplerConfig
from var_scaling.families.registry import family_of
from var_scaling.planning.identity import evaluation_label
from var_scaling.planning.resolve import sampler_of
from var_scaling.state_dicts import weights_hash

if TYPE_CHECKING:
    from var_scaling.runs.store import Attempt

__all__ = ["evaluate_model", "evaluate_tokenizer", "measure"]

SAVE_SECONDS = 60.0  # features are saved this often, so that an interrupted evaluation goes on
KID_SAMPLES, KID_REFERENCE = 10_000, 5_000  # images in the kernel distance; its cost grows with the square
NEIGHBOURS = 3  # of precision and recall, as published; fewer other images have no third


def evaluate_model(
    model: Trained,
    evaluation: FidEvaluation,
    images: Images,
    *,
    extractor_folder: Path | None = None,
    judge_folder: Path | None = None,
    weights: str | Path | None = None,
    cache: Path | None = None,
    attempt: Attempt | None = None,
    learnt: TrainingImages | None = None,
) -> dict[str, Any]:
    """Draws samples at the reference's class shares and measures them in one feature space; trains nothing.

    Args:
        model: draws them.
        evaluation: what to measure, in what, against what.
        images: of `evaluation.data`.
        extractor_folder: where our classifier was published, for `classifier` features.
        judge_folder: where the judge was published, for several candidates a sample.
        weights: folder of published feature networks; see `features.load_extractor`.
        cache: a folder where reference features are kept by content.
        attempt: told of progress, asked whether to stop; None for a run by hand.
        learnt: what the model was trained on, where samples are to be looked at for copies.

    Returns:
        The evaluation as it is stored; what could not be measured is absent, and `note` says why.

    Raises:
        EnvironmentProblem: feature weights are missing.
    """
    started = time.monotonic()
    fid, sampler = evaluation.fid, sampler_of(model.config, evaluation.fid)
    if fid.precision != "float32":
        model = replace(model, precision=fid.precision)
    extractor = evaluation_extractor(evaluation, extractor_folder, weights, model.device)
    beat = _beat(attempt, "reference images")
    reference = reference_features(images, fid.reference, extractor, cache=cache, beat=beat)
    assert evaluation.data.classes is not None
    shares_Y = np.bincount(images.labels(fid.reference), minlength=evaluation.data.classes)
    labels_n = labels_by_share(fid.samples, np.ones_like(shares_Y) if fid.labels == "balanced" else shares_Y)
    # One checkpoint a (weights, evaluation): an interrupted one goes on, another is never mistaken for it.
    key = f"{evaluation.model_dump_json()}{weights_hash(model.module)}{extractor.identity}"
    name = f"evaluation_{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    judge = None
    if fid.candidates > 1:
        assert not isinstance(evaluation.judge, str), "candidates without a judge"
        judge = load_extractor(
            "classifier",
            data=evaluation.data,
            recipe=evaluation.judge,
            folder=judge_folder,
            device=model.device,
        )
    features_nD, logits_nY, ratios_n, seconds = _sample_features(
        model, sampler, fid, labels_n, extractor, learnt, judge, attempt, name
    )
    report = {
        "kind": "fid",
        "label": evaluation_label(evaluation),
        "features": fid.features,
        "network": extractor.identity,
        "reference": fid.reference,
        "reference_images": reference.gaussian.count,
        "reference_per_dimension": reference.gaussian.count / len(reference.gaussian.mean),
        "class_shares": fid.labels,
        "samples": fid.samples,
        **sampler.model_dump(),
        "guidance_mean": family_of(model.config).mean_guidance(model.config, sampler),
        "sample_flops": fid.candidates * family_of(model.config).sample_flops(model.config, sampler),
        **({} if fid.candidates == 1 else {"candidates": fid.candidates, "choice": fid.choice}),
        **({} if seconds is None else {"sample_seconds": seconds}),
        "seed": fid.seed,
        **measure(features_nD, reference, logits_nY, labels_n),
        **(
            {} if learnt is None else {"copies": float((ratios_n < BELOW).mean()), "copies_by_chance": learnt.by_chance}
        ),
        **_agreement(fid.features, logits_nY, labels_n),
        "data_hash": images.content_hash,
        "seconds": time.monotonic() - started,
        "finished": time.time(),
    }
    if attempt is not None:
        attempt.drop_checkpoint(name)
    return report


def _agreement(features: str, logits_nY: NDArray[Any] | None, labels_n: NDArray[np.int64]) -> dict[str, float | int]:
    """How many samples a network that knows these classes takes for what was asked of the model."""
    if features != "classifier" or logits_nY is None:
        return {}
    return {"class_agreement": float((logits_nY.argmax(1) == labels_n).mean()), "classes": logits_nY.shape[1]}


def measure(
    features_nD: NDArray[Any],
    reference: ReferenceFeatures,
    logits_nY: NDArray[Any] | None = None,
    strata: NDArray[np.int64] | None = None,
) -> dict[str, float | str]:
    """Every metric of a feature sample against a reference.

    Args:
        features_nD: (n, D), every prefix alike in class shares.
        reference: moments and features.
        logits_nY: (n, Y) for the Inception score; None: absent.
        strata: (n,) labels of fixed shares; see `frechet.frechet`.

    Returns:
        What the images suffice for; `note` says which of samples or reference are too few for a FID.
    """
    found: dict[str, float | str] = {"samples_per_dimension": len(features_nD) / features_nD.shape[1]}
    try:
        distance = frechet(features_nD, Reference(reference.gaussian), strata)
        found |= {
            "fid": distance.raw,
            "fid_corrected": distance.corrected,
            "fid_low": distance.low,
            "fid_high": distance.high,
        }
        if len(reference.features) >= 2 * SAMPLES_PER_DIMENSION * features_nD.shape[1]:
            bias = reference_bias(features_nD, reference.features, reference.labels)
            found["fid_reference_bias"] = bias * len(reference.features) / reference.gaussian.count
    except ValueError as problem:
        found["note"] = str(problem)
    if len(features_nD) > 1 and len(reference.features) > 1:
        kid = kernel_distance(
            features_nD[:KID_SAMPLES],
            reference.features[:KID_REFERENCE],
            None if strata is None else strata[:KID_SAMPLES],
            None if strata is None else reference.labels[:KID_REFERENCE],
        )
        found |= {"kid": kid.value, "kid_low": kid.low, "kid_high": kid.high}
    # Equal numbers on both sides: precision falls and recall rises with the other side's density.
    both = min(len(features_nD), len(reference.features))
    if both > NEIGHBOURS:
        precision, recall = precision_recall(features_nD[:both], reference.features[:both])
        found |= {"precision": precision, "recall": recall}
    return found | ({} if logits_nY is None else {"inception_score": inception_score(logits_nY)})


def _sample_features(
    model: Trained,
    sampler: SamplerConfig,
    fid: FidConfig,
    labels_n: NDArray[np.int64],
    extractor: Extractor,
    learnt: TrainingImages | None,
    judge: Extractor | None,
    attempt: Attempt | None,
    name: str,
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None, NDArray[np.float32], float | None]:
    """Features, logits, ratios of distances to what was learnt, and seconds that a sample takes to draw and decode.

    The latter are the median batch's, times the candidates of a sample; None where none was drawn. With a judge the
    samples are those that it keeps.
    """
    kept: Everything | Selection = Everything() if judge is None else Selection(labels_n, fid.choice)
    labels_n = np.tile(labels_n, fid.candidates)
    if attempt is not None and (saved := attempt.load_checkpoint(name)) is not None:
        kept.restore(saved)
    beat, saved_at = _beat(attempt, "samples"), time.monotonic()
    drawn = generate(model, labels_n, sampler, seed=fid.seed, first=kept.done)
    seconds: list[float] = []
    before = time.perf_counter()
    for rows, images_BCHW in drawn:
        seconds.append((time.perf_counter() - before) / len(rows))
        features_BD, logits_BY = extractor(images_BCHW)
        columns = {"features": features_BD}
        if logits_BY is not None:
            columns["logits"] = logits_BY
        if learnt is not None:
            columns["ratios"] = learnt.ratios(images_BCHW)
        if judge is not None:
            columns["scores"] = _scores(judge, images_BCHW, labels_n[rows])
        kept.add(rows, columns)
        stopping = attempt is not None and attempt.stop_requested()
        left = kept.done < len(labels_n)
        if attempt is not None and left and (stopping or time.monotonic() - saved_at > SAVE_SECONDS):
            attempt.save_checkpoint(name, kept.state())
            saved_at = time.monotonic()
            if stopping:
                raise attempt.stopped()
        beat(kept.done, len(labels_n))
        before = time.perf_counter()
    whole = kept.result()
    median = fid.candidates * float(np.median(seconds)) if seconds else None
    return whole["features"], whole.get("logits"), whole.get("ratios", np.zeros(0, np.float32)), median


def _scores(judge: Extractor, images_BCHW: torch.Tensor, labels_B: NDArray[np.int64]) -> NDArray[np.float32]:
    """Log-probability of its class that a judge gives each image."""
    logits_BY = judge(images_BCHW)[1]
    assert logits_BY is not None, "a judge is a classifier"
    scores_BY: NDArray[np.float32] = torch.from_numpy(logits_BY).log_softmax(1).numpy()
    return scores_BY[np.arange(len(labels_B)), labels_B]


def _beat(attempt: Attempt | None, what: str) -> Callable[[int, int], None]:
    def beat(done: int, total: int) -> None:
        if attempt is not None:
            attempt.progress(done, total, what)

    return beat
