"""What fetching a batch from the token cache costs beside a training step, and what building the cache costs.

    OMP_NUM_THREADS=1 python -m benchmarks.data_fetch         # about a minute; an untrained `tiny` tokenizer

Prints CPU microseconds a batch of 64 for labels, tokens and features, and their share of a d2 step (2,500 images a CPU
second, shared/reference/ladder.md), with features kept and with features computed; encoding and reading rates; and what
a folder of image files gives with 1, 2 and 4 threads.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from var_scaling.config.data import DataConfig, resolve_data
from var_scaling.data import latents as tokens
from var_scaling.data.images import load_images
from var_scaling.runs import store
from var_scaling.runs.journal import Journal
from var_scaling.tokenizers.vq.config import VQConfig, resolve_tokenizer
from var_scaling.tokenizers.vq.model import build_tokenizer

STEP_SECONDS = 64 / 2_500  # of d2, the fastest step there is


def attempt_in(folder: Path) -> store.Attempt:
    folder.mkdir(exist_ok=True)
    attempt = store.take(folder)
    attempt.journal = Journal(attempt.folder / "journal.jsonl")
    return attempt


def build(folder: Path, data: DataConfig, images, tokenizer, keep: bool) -> tokens.TokenCache:
    before = tokens.FEATURES_LIMIT_BYTES
    tokens.FEATURES_LIMIT_BYTES = before if keep else 0
    attempt = attempt_in(folder)
    out, start = attempt.scratch("result"), time.process_time()
    tokens.build_tokens(data, images, tokenizer, attempt=attempt, out=out, device="cpu")
    seconds = time.process_time() - start
    tokens.FEATURES_LIMIT_BYTES = before
    encoded = images.count("train") * data.views + images.count("validation")
    size = sum(path.stat().st_size for path in out.iterdir())
    print(
        f"built with{'' if keep else 'out'} features: {seconds:.1f} CPU-s, {encoded / seconds:,.0f} images/CPU-s, "
        f"{size / 1e6:.1f} MB"
    )
    return tokens.open_tokens(out, tokenizer)


def fetch(cache: tokens.TokenCache, name: str, repeats: int = 400) -> None:
    rng = np.random.default_rng(0)
    cache.batch(np.arange(64), 0)
    start = time.process_time()
    for _ in range(repeats):
        cache.batch(rng.integers(0, len(cache.train_labels), 64), rng.integers(0, cache.views, 64))
    seconds = (time.process_time() - start) / repeats
    print(f"{name}: {1e6 * seconds:.0f} us a batch of 64, {seconds / STEP_SECONDS:.2%} of a d2 step")


def folder_of_files(root: Path, count: int = 240) -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for label in ("a", "b"):
            (root / split / label).mkdir(parents=True)
            for i in range(count // 2):
                small = rng.integers(0, 256, (40, 50, 3), np.uint8)
                Image.fromarray(small).resize((500, 400)).save(root / split / label / f"{i}.jpg", quality=90)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        start = time.process_time()
        data = resolve_data(DataConfig())
        images = load_images(data)
        print(f"embedded set opened: {time.process_time() - start:.2f} CPU-s")
        for preset in ("tiny", "small"):
            config = resolve_tokenizer(VQConfig(preset=preset), resolution=32, channels=1, flip=False)
            tokenizer = build_tokenizer(config).eval()
            print(f"-- {preset}: {config.tokens_per_image} tokens")
            kept = build(root / f"{preset}-kept", data, images, tokenizer, keep=True)
            fetch(kept, "features kept")
            fetch(build(root / f"{preset}-lean", data, images, tokenizer, keep=False), "features computed")
            start = time.process_time()
            tokens.open_tokens(kept.folder)
            print(f"opened again: {1e3 * (time.process_time() - start):.1f} ms")
        print("-- image files, 500 x 400 JPEG to 256 px")
        folder_of_files(root / "files")
        config = resolve_data(DataConfig(name="imagefolder"), image_folder=str(root / "files"))
        for workers in (1, 2, 4):
            opened = load_images(config, image_folder=str(root / "files"), workers=workers)
            start = time.perf_counter()
            opened.batch(np.arange(opened.count("train")), 1)
            seconds = time.perf_counter() - start
            print(f"{workers} threads: {opened.count('train') / seconds:,.0f} images/s")


if __name__ == "__main__":
    main()
