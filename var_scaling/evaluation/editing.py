"""Pictures of which a part is drawn anew by a trained model: in-painting, out-painting, class-conditional editing.

No model is trained for it. What is kept is held fast while the rest is drawn: tokens of each scale, or latents at each
step, by the rule of `families.masks`. A model that draws one token after another, or coarse before fine, has not seen
what is kept of the later ones: of several draws one is then chosen by the probability that it gives them (importance
resampling, Rubin 1988). Three things are done to the pixels around that:

- Before encoding, the part that is drawn anew is filled smoothly from its rim (`membrane`), so that nothing of what
  lay there reaches the model, and no hard edge does either.
- Kept pixels are the picture's own, to the bit: the drawn part is laid into the picture.
- At the seam the drawn part is shifted by what it is off from the picture there, fading inwards (a membrane as in
  Perez, Gangnet and Blake, Poisson image editing, 2003, held down by springs): `seam="membrane"`; "paste" leaves it.

Dimension key: n pictures, K candidates, C channels, H = W side in pixels, B drawn together.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from var_scaling import randomness
from var_scaling.evaluation.features import to_bytes
from var_scaling.evaluation.generation import Parts, Trained, evaluating
from var_scaling.families.base import SamplerConfig
from var_scaling.planning.flops import SAMPLES_AT_ONCE

Seam = Literal["membrane", "paste"]
Bytes = NDArray[np.uint8]
TRIES = 4
REACH = 12  # parts of a side within which the shift at a seam fades; see docs/editing.md


def edit(
    model: Trained,
    images_nCHW: Bytes,
    mask: NDArray[np.bool_],
    labels_n: NDArray[np.int64] | None,
    sampler: SamplerConfig,
    *,
    candidates: int = 4,
    tries: int = TRIES,
    seed: int = 0,
    seam: Seam = "membrane",
    beat: Callable[[int, int], None] = lambda done, total: None,
) -> Bytes:
    """Candidates of edited pictures.

    A candidate is a function of the picture, the mask, its class, its number and the seed: not of what else is edited
    in the same call, nor of how many are drawn together.

    Args:
        model: draws them.
        images_nCHW: uint8, of the model's channels and side.
        mask: (H, W) for all, or (n, H, W): True where pixels are drawn anew. What lies there in `images_nCHW` plays no
            part in the result.
        labels_n: the class of each; None draws without one.
        sampler: of the model's family.
        candidates: K.
        tries: draws for each candidate, of which one is chosen by how likely the model finds what is kept beside it.
            Only of families whose first draws have not seen all that is kept; the others take one.
        seed: of the candidates.
        seam: see the head of this file.
        beat: called with (candidates drawn, candidates in all).

    Returns:
        (n, K, C, H, W) uint8.

    Raises:
        ValueError: a family that cannot keep a part, a mask of another size, or one with nothing or everything white.
    """
    if problem := model.cannot_edit():
        raise ValueError(problem)
    mask_nHW = checked_mask(mask, len(images_nCHW), images_nCHW.shape[-2:])
    shown_nCHW = filled(images_nCHW, mask_nHW)
    count = len(images_nCHW)
    labels = np.full(count, model.num_classes, np.int64) if labels_n is None else labels_n
    # The address of a picture is its content, so that a folder that grows changes nothing of what was there.
    contents = np.array([zlib.crc32(np.ascontiguousarray(image).tobytes()) for image in shown_nCHW], np.int64)
    owners = np.repeat(np.arange(count), candidates)  # the picture of each candidate
    numbers = np.tile(np.arange(candidates), count)
    tries = tries if model.weighs else 1
    found = np.empty((len(owners), *images_nCHW.shape[1:]), np.uint8)
    parts, together = Parts(), max(1, SAMPLES_AT_ONCE // tries)
    with evaluating(model.module):
        for start in range(0, len(owners), together):
            some = np.arange(start, min(start + together, len(owners)))
            rows, turns = np.repeat(some, tries), np.tile(np.arange(tries), len(some))
            seeds = randomness.bits(seed, "edit", contents[owners[rows]], numbers[rows], turns) >> np.uint64(1)
            drawn, nats = _drawn(model, shown_nCHW, mask_nHW, labels, owners[rows], seeds, sampler, parts)
            lots = randomness.uniform(seed, "edit-choice", contents[owners[rows]], numbers[rows], turns)
            chosen = _chosen(nats.reshape(-1, tries), lots.reshape(-1, tries))
            found[some] = drawn.reshape(len(some), tries, *found.shape[1:])[np.arange(len(some)), chosen]
            beat(int(some[-1]) + 1, len(owners))
    return laid_in(images_nCHW, found.reshape(count, candidates, *found.shape[1:]), mask_nHW, seam)


def _drawn(
    model: Trained,
    shown_nCHW: Bytes,
    mask_nHW: NDArray[np.bool_],
    labels_n: NDArray[np.int64],
    owners_B: NDArray[np.int64],
    seeds_B: NDArray[np.uint64],
    sampler: SamplerConfig,
    parts: Parts,
) -> tuple[Bytes, NDArray[np.float64]]:
    """Whole pictures as the tokenizer gives them, (B, C, H, W), and what each weighs, (B) nats."""
    each = []
    for number in seeds_B:
        generator = torch.Generator("cpu")
        generator.manual_seed(int(number))
        each.append(model.noise(sampler, 1, generator))
    noise = {name: torch.cat([one[name] for one in each]).to(model.device) for name in each[0]}
    labels_B = torch.from_numpy(labels_n[owners_B]).to(model.device)
    kept_B1HW = torch.from_numpy(~mask_nHW[owners_B])[:, None].to(model.device)

    weights: list[Tensor] = []

    def draw(part: slice) -> Tensor:
        shown = torch.from_numpy(shown_nCHW[owners_B[part]]).to(model.device)
        known = model.tokenizer.latents(shown.float() / 127.5 - 1)
        some = {name: values[part] for name, values in noise.items()}
        images, nats = model.draw_and_weigh(labels_B[part], sampler, some, known, kept_B1HW[part])
        weights.append(nats)
        return to_bytes(images).cpu()

    return parts(draw, len(owners_B)).numpy(), torch.cat(weights).double().numpy()


def _chosen(nats_nT: NDArray[np.float64], lots_nT: NDArray[np.float64]) -> NDArray[np.int64]:
    """One of T draws for each candidate, with probabilities as exp(nats): the largest after Gumbel noise is added."""
    gumbel_nT = -np.log(-np.log(lots_nT.clip(1e-300, 1 - 1e-16)))
    return np.argmax(nats_nT + gumbel_nT, axis=1)


def checked_mask(mask: NDArray[np.bool_], count: int, size: tuple[int, ...]) -> NDArray[np.bool_]:
    """The mask of each picture, (n, H, W) bool.

    Raises:
        ValueError: another size, nothing to draw, or nothing to keep.
    """
    mask = np.asarray(mask, bool)
    if mask.shape[-2:] != tuple(size) or mask.ndim not in (2, 3) or (mask.ndim == 3 and len(mask) != count):
        raise ValueError(f"a mask of shape {mask.shape} does not fit {count} pictures of {size[1]}x{size[0]} pixels")
    share = mask.mean((-2, -1))
    if not share.all():
        raise ValueError("a mask without any white asks for nothing to be drawn anew; white is what is drawn")
    if (share == 1).any():
        raise ValueError(
            "a mask that is white everywhere keeps nothing of the picture; that is drawing a sample: `var-scaling "
            "sample --class NAME`"
        )
    return np.broadcast_to(mask, (count, *size))


def filled(images_nCHW: Bytes, mask_nHW: NDArray[np.bool_]) -> Bytes:
    """The pictures with a smooth surface in place of what is drawn anew: what the model is shown."""
    out = images_nCHW.copy()
    for rows, mask_HW in _alike(mask_nHW):
        values = images_nCHW[rows].astype(np.float64)
        out[rows] = np.where(mask_HW, _bytes(membrane(values, mask_HW)), images_nCHW[rows])
    return out


def laid_in(images_nCHW: Bytes, drawn_nKCHW: Bytes, mask_nHW: NDArray[np.bool_], seam: Seam = "membrane") -> Bytes:
    """What was drawn, laid into the pictures; every pixel that is kept is the picture's own."""
    out = np.empty_like(drawn_nKCHW)
    for rows, mask_HW in _alike(mask_nHW):
        truth = images_nCHW[rows][:, None]
        drawn = drawn_nKCHW[rows].astype(np.float64)
        if seam == "membrane":
            drawn = drawn + np.where(mask_HW, membrane(truth - drawn, mask_HW, mask_HW.shape[0] / REACH), 0.0)
        out[rows] = np.where(mask_HW, _bytes(drawn), truth)
    return out


def membrane(values: NDArray[np.float64], mask_HW: NDArray[np.bool_], reach: float = np.inf) -> NDArray[np.float64]:
    """The smoothest surface over the masked pixels that continues the others: every pixel the mean of its neighbours.

    Args:
        values: (..., H, W); what stands under the mask is not looked at.
        mask_HW: not everywhere True. A masked patch at the picture's edge continues level beyond it.
        reach: pixels within which the surface falls towards 0 by a factor of e.

    Returns:
        (..., H, W): `values` where the mask is False.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.linalg import splu

    height, width = mask_HW.shape
    place = np.full(mask_HW.shape, -1)
    ys, xs = np.nonzero(mask_HW)
    place[ys, xs] = np.arange(len(ys))
    degree = np.zeros(len(ys))
    flat = values.reshape(-1, height, width)
    right = np.zeros((len(ys), len(flat)))
    entries: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        y, x = ys + dy, xs + dx
        inside = np.flatnonzero((y >= 0) & (y < height) & (x >= 0) & (x < width))
        degree[inside] += 1
        neighbour = place[y[inside], x[inside]]
        free, fixed = inside[neighbour >= 0], inside[neighbour < 0]
        entries.append((free, neighbour[neighbour >= 0]))
        right[fixed] += flat[:, y[fixed], x[fixed]].T
    rows = np.concatenate([np.arange(len(ys)), *(row for row, _ in entries)])
    columns = np.concatenate([np.arange(len(ys)), *(column for _, column in entries)])
    data = np.concatenate([degree + reach**-2.0, np.full(len(rows) - len(ys), -1.0)])
    solved = splu(csr_matrix((data, (rows, columns))).tocsc()).solve(right)
    out = flat.copy()
    out[:, ys, xs] = solved.T
    return out.reshape(values.shape)


def _alike(mask_nHW: NDArray[np.bool_]) -> list[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """Pictures by mask: a membrane is solved once for all that share it."""
    groups: dict[bytes, list[int]] = {}
    for row, mask_HW in enumerate(mask_nHW):
        groups.setdefault(mask_HW.tobytes(), []).append(row)
    return [(np.array(rows), mask_nHW[rows[0]]) for rows in groups.values()]


def _bytes(values: NDArray[np.float64]) -> Bytes:
    rounded: Bytes = np.rint(values.clip(0, 255)).astype(np.uint8)
    return rounded
