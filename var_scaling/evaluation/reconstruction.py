"""How good a tokenizer is by itself: the floor below which no FID of a model behind it can be read.

Dimension key: B batch, n images, p side of a token map, K scales.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from var_scaling import randomness
from var_scaling.config.evaluate import FidEvaluation
from var_scaling.data.images import Images, Split
from var_scaling.evaluation.features import (
    Extractor,
    ReferenceFeatures,
    alike_order,
    batches,
    evaluation_extractor,
    image_bytes,
    reference_features,
    to_bytes,
)
from var_scaling.evaluation.frechet import Reference, frechet
from var_scaling.evaluation.generation import save_grid
from var_scaling.evaluation.resized import fitted
from var_scaling.evaluation.shape import exchanged
from var_scaling.runs import layout, store

SPLITS: tuple[Split, ...] = ("train", "validation")

if TYPE_CHECKING:
    from var_scaling.runs.store import Attempt
    from var_scaling.tokenizers.base import Tokenizer


def evaluate_tokenizer(
    tokenizer: Tokenizer,
    evaluation: FidEvaluation,
    images: Images,
    *,
    extractor_folder: Path | None = None,
    weights: str | Path | None = None,
    cache: Path | None = None,
    out: Path | None = None,
    attempt: Attempt | None = None,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """The floor of one evaluation: every validation image through the tokenizer, measured as the models' samples are.

    Args:
        tokenizer: in eval mode afterwards.
        evaluation: gives the feature space; its sample count and guidance play no part.
        images: of `evaluation.data`.
        extractor_folder: where our classifier was published.
        weights: folder of published feature networks.
        cache: a folder where reference features are kept by content.
        out: gets report.json, sanity.json (see `sanity_report`), psnr.npy (of each validation image) and
            reconstructions.png (truth above, reconstruction below).
        attempt: told of progress, asked whether to stop.
        device: where it runs.

    Returns:
        See `reconstruction_report`.
    """
    extractor = evaluation_extractor(evaluation, extractor_folder, weights, device)
    tokenizer, how = fitted(tokenizer, images.config)
    psnr_n = np.empty(images.count("validation"))
    report = reconstruction_report(
        tokenizer, images, extractor, cache=cache, attempt=attempt, device=device, psnr_n=psnr_n
    )
    report |= {"resized": how} if how else {}
    if out is not None:
        np.save(out / "psnr.npy", psnr_n)
        store.write_json(layout.report(out), report)
        # Seconds on small sets; published networks would take hours.
        if not isinstance(evaluation.extractor, str) and "note" not in report:
            sanity = sanity_report(images, extractor, tokenizer=tokenizer, cache=cache, device=device)
            store.write_json(layout.sanity(out), sanity)
        _save_pairs(tokenizer, images, layout.reconstructions(out), device)
    return report


@torch.no_grad()
def _save_pairs(tokenizer: Tokenizer, images: Images, path: Path, device: torch.device | str, count: int = 20) -> None:
    truth = images.batch(np.arange(min(count, images.count("validation"))), 0, "validation")
    back = tokenizer.pictures(tokenizer.latents(truth.to(device))).cpu()
    half = len(truth) // 2
    rows = [truth[:half], back[:half], truth[half : 2 * half], back[half : 2 * half]]
    save_grid(to_bytes((torch.cat(rows) + 1) / 2), path, columns=half)


@torch.no_grad()
def reconstruction_report(
    tokenizer: Tokenizer,
    images: Images,
    extractor: Extractor | None = None,
    *,
    cache: Path | None = None,
    attempt: Attempt | None = None,
    device: torch.device | str = "cpu",
    psnr_n: NDArray[np.float64] | None = None,
) -> dict[str, Any]:
    """Reconstructs every validation image.

    Args:
        tokenizer: in eval mode afterwards.
        images: the whole set (`config.evaluate.metric_data`).
        extractor: for rFID; None leaves it out.
        cache: a folder where reference features are kept by content.
        attempt: told of progress, asked whether to stop.
        device: where it runs.
        psnr_n: gets the value of each image, in their order.

    Returns:
        psnr (dB, mean over images), usage and perplexity of the codebook in all and per scale, and with an extractor
        rfid_train (raw, corrected, low, high) and rfid_validation (raw: the same images on both sides, so that no half
        corrects it). Too few images for an interval: no rFID, and a note.
    """
    tokenizer = tokenizer.to(device).eval()
    count = images.count("validation")
    psnr_n = np.empty(count) if psnr_n is None else psnr_n
    hits: list[NDArray[np.int64]] = []  # of each scale's codes, where the latents are codes
    parts: list[NDArray[np.float32]] = []
    for rows in batches(count):
        truth = images.batch(rows, 0, "validation").to(device)
        latents = tokenizer.latents(truth)
        back = tokenizer.pictures(latents)
        # Peak to peak is 2 in [-1, 1]; a mean over images of a log, not a log of a mean (0.6 to 0.8 dB lower here).
        psnr_n[rows] = (10 * torch.log10(4 / (back - truth).square().flatten(1).mean(1).clamp_min(1e-10))).cpu()
        if "tokens" in latents:
            maps = tokenizer.maps(latents["tokens"])
            found = [np.bincount(m.flatten().cpu().numpy(), minlength=tokenizer.vocab_size) for m in maps]
            hits = [a + b for a, b in zip(hits, found, strict=True)] if hits else found
        if extractor is not None:
            parts.append(extractor(to_bytes((back + 1) / 2))[0])
        if attempt is not None:
            attempt.progress(int(rows[-1]) + 1, count, "reconstructions")
            if attempt.stop_requested():
                raise attempt.stopped()
    report: dict[str, Any] = {
        "kind": "reconstruction",
        "images": count,
        "psnr": float(psnr_n.mean()),
        **_use_of_codes(hits),
        "data_hash": images.content_hash,
    }
    if extractor is None:
        return report
    features_nD = np.concatenate(parts)
    report["class_share_gap"] = _share_gap(images)
    report |= {"features": extractor.features, "network": extractor.identity}
    for split in SPLITS:
        kept = reference_features(images, split, extractor, cache=cache)
        try:
            distance = frechet(features_nD, Reference(kept.gaussian), images.validation_labels)
        except ValueError as problem:
            report.setdefault("note", str(problem))
            continue
        report[f"rfid_{split}"] = distance.raw
        report["samples_per_dimension"] = distance.samples_per_dimension
        if split == "train":
            report |= {
                "rfid_train_corrected": distance.corrected,
                "rfid_train_low": distance.low,
                "rfid_train_high": distance.high,
            }
    return report


def _share_gap(images: Images) -> float:
    """How far the splits' class shares lie apart: the share of images that would have to be of another class."""
    counts = [np.bincount(images.labels(split), minlength=images.config.classes or 0) for split in SPLITS]
    train, validation = (count / count.sum() for count in counts)
    return float(np.abs(train - validation).sum() / 2)


def _use_of_codes(hits: list[NDArray[np.int64]]) -> dict[str, float]:
    if not hits:
        return {}
    whole = np.sum(hits, axis=0)
    return {
        "usage": float((whole > 0).mean()),
        "perplexity": _perplexity(whole),
        **{f"usage_scale_{k + 1}": float((h > 0).mean()) for k, h in enumerate(hits)},
        **{f"perplexity_scale_{k + 1}": _perplexity(h) for k, h in enumerate(hits)},
    }


def _perplexity(hits_V: NDArray[np.int64]) -> float:
    share = hits_V[hits_V > 0] / hits_V.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def sanity_report(
    images: Images,
    extractor: Extractor,
    *,
    tokenizer: Tokenizer | None = None,
    count: int | None = None,
    cache: Path | None = None,
    device: torch.device | str = "cpu",
) -> list[dict[str, Any]]:
    """What the metric says of images whose quality is known, the best first; see `known_images`.

    Args:
        images: the whole set.
        extractor: the feature network.
        tokenizer: adds its reconstructions.
        count: validation images used; None: all.
        cache: see `features.reference_features`.
        device: of the tokenizer.

    Returns:
        One row each: images, fid, fid_corrected, fid_low, fid_high against the training images.
    """
    reference = reference_features(images, "train", extractor, cache=cache)
    used = alike_order(images.validation_labels)[:count]
    labels = images.validation_labels[used]
    rows = []
    for name, make in known_images(tokenizer, device).items():
        features_nD = np.concatenate(
            [
                extractor(make(image_bytes(images, "validation", used[part]), used[part]))[0]
                for part in batches(len(used))
            ]
        )
        rows.append({"images": name, "count": len(used), **_row(features_nD, reference, labels)})
    return rows


def _row(features_nD: NDArray[Any], reference: ReferenceFeatures, labels: NDArray[np.int64]) -> dict[str, float]:
    found = frechet(features_nD, Reference(reference.gaussian), labels)
    return {"fid": found.raw, "fid_corrected": found.corrected, "fid_low": found.low, "fid_high": found.high}


Make = Callable[[Tensor, NDArray[np.int64]], Tensor]


def known_images(tokenizer: Tokenizer | None, device: torch.device | str) -> dict[str, Make]:
    """Ways to damage uint8 images by a known amount, the mildest first; called with the images and their rows."""

    def reconstructed(images: Tensor, rows: NDArray[np.int64]) -> Tensor:
        assert tokenizer is not None
        with torch.no_grad():
            back = tokenizer.pictures(tokenizer.latents(images.to(device) / 127.5 - 1))
            return to_bytes((back + 1) / 2).cpu()

    def blurred(images: Tensor, rows: NDArray[np.int64]) -> Tensor:
        padded = F.pad(images.float(), (1, 1, 1, 1), mode="replicate")
        return F.avg_pool2d(padded, 3, 1).round().to(torch.uint8)

    def shrunk(images: Tensor, rows: NDArray[np.int64]) -> Tensor:
        small = F.interpolate(images.float(), (8, 8), mode="area")
        large = F.interpolate(small, images.shape[-2:], mode="bicubic", align_corners=False)
        return large.clamp(0, 255).round().to(torch.uint8)

    def noise(images: Tensor, rows: NDArray[np.int64]) -> Tensor:
        drawn = randomness.integers(0, "noise", 256, rows[:, None], np.arange(images[0].numel())[None])
        return torch.from_numpy(drawn.astype(np.uint8)).view_as(images)

    def rearranged(images: Tensor, rows: NDArray[np.int64]) -> Tensor:
        return exchanged(images, rows, 4)

    real = {"real (validation)": lambda images, rows: images}
    return {
        **real,
        **({} if tokenizer is None else {"reconstructed": reconstructed}),
        "blurred (3x3 mean)": blurred,
        "shrunk to 8x8 and back": shrunk,
        "4x4 parts exchanged": rearranged,
        "uniform noise": noise,
    }
