"""What a tokenizer preset reaches in how many CPU seconds: PSNR, rFID, use of the codes.

    python -m benchmarks.tokenizer_quality tiny
    python -m benchmarks.tokenizer_quality small --data world --resolution 64 --rfid
    python -m benchmarks.tokenizer_quality small --classifier runs/store/classifier/<id>/result
    python -m benchmarks.tokenizer_quality small --images 19200 --set update=gradient --set data_init=false

One thread and the allocator's settings of a local launch, about 1 to 2 CPU minutes on the embedded images. CPU seconds
are this process's own, so other work on the machine lengthens them somewhat. With a trained classifier's folder, or
with `--rfid`, which trains one first, it adds rFID against the training images, and the FID of images shrunk to 8x8 and
enlarged again in the same features: on the embedded images `small` has to stay below 1/25 of it. The last line is the
row of docs/presets.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file

from var_scaling.config.data import DataConfig, resolve_data
from var_scaling.config.evaluate import metric_data
from var_scaling.data.images import load_images
from var_scaling.evaluation.classifier import train_classifier
from var_scaling.evaluation.features import load_extractor
from var_scaling.evaluation.reconstruction import reconstruction_report, sanity_report
from var_scaling.launch.local import MALLOC
from var_scaling.runs import store
from var_scaling.runs.journal import Journal
from var_scaling.tokenizers.autoencoder_config import GanConfig, PerceptualConfig
from var_scaling.tokenizers.vq.config import (
    CodebookConfig,
    TokenizerTrainConfig,
    VQConfig,
    resolve_tokenizer,
)
from var_scaling.tokenizers.vq.model import build_tokenizer
from var_scaling.tokenizers.vq.training import make
from var_scaling.training.tokenizer import ArraySource, Training, train_tokenizer


def rate(config: VQConfig, steps: int = 12) -> float:
    """Training images per CPU second, the best of some steps."""
    training = Training(config, ArraySource([], []), torch.device("cpu"), make)
    batch = torch.rand(config.train.batch_size, config.image_channels, config.resolution, config.resolution) * 2 - 1
    training.step(batch)
    seconds = []
    for _ in range(steps):
        begin = time.process_time()
        training.step(batch)
        seconds.append(time.process_time() - begin)
    return config.train.batch_size / min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=["tiny", "small"])
    parser.add_argument("--data", default="fashion-mnist-mini", choices=["fashion-mnist-mini", "world", "cifar10"])
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--rfid", action="store_true", help="train the set's classifier first, for rFID")
    parser.add_argument("--images", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--classifier", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="of the codebook's rules")
    parser.add_argument("--perceptual", type=float, help="weight of the random-feature loss")
    parser.add_argument("--gan", type=float, help="weight of the adversarial loss")
    args = parser.parse_args()
    if not MALLOC.keys() <= os.environ.keys():  # read once, when a process starts
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **MALLOC})
    torch.set_num_threads(1)
    data = resolve_data(DataConfig(name=args.data, resolution=args.resolution))
    rules = {"update": "ema"}
    for text in args.set:
        name, _, value = text.partition("=")
        rules[name] = yaml.safe_load(value)
    train = TokenizerTrainConfig(
        images=args.images,
        seed=args.seed,
        codebook=CodebookConfig(**rules) if args.set else None,
        perceptual=PerceptualConfig(network="random", weight=args.perceptual) if args.perceptual else None,
        gan=GanConfig(weight=args.gan) if args.gan else None,
    )
    asked = VQConfig(preset=args.preset, train=train)
    config = resolve_tokenizer(asked, resolution=data.resolution, channels=data.channels, flip=False)
    images = load_images(data)
    own = tempfile.TemporaryDirectory()  # kept until the end: the extractor may read it
    if args.rfid and not args.classifier:
        attempt = store.take(Path(own.name))
        attempt.journal = Journal(attempt.folder / "journal.jsonl")
        learnt = train_classifier(metric_data(data), images, attempt=attempt, out=(out := attempt.scratch("result")))
        print(f"classifier: {learnt['accuracy']:.1%} of the validation images of {data.classes} classes")
        args.classifier = out
    with tempfile.TemporaryDirectory() as folder:
        attempt = store.take(Path(folder))
        attempt.journal = Journal(attempt.folder / "journal.jsonl")
        begin = time.process_time()
        report = train_tokenizer(config, images, attempt=attempt, out=(out := attempt.scratch("result")), make=make)
        seconds = time.process_time() - begin
        tokenizer = build_tokenizer(config)
        tokenizer.load_state_dict(load_file(out / "weights.safetensors"))
    parameters = sum(p.numel() for p in tokenizer.parameters())
    print(f"{args.preset}, seed {args.seed}: {report['images']:,} images, {parameters:,} parameters")
    print(f"{seconds:.0f} CPU s with validation; best steps: {rate(config):.0f} images per CPU s")
    print(f"PSNR {report['psnr']:.2f} dB, codes used {report['usage']:.1%}")
    for side, usage in report["usage_per_scale"].items():
        print(f"  {side}x{side}: {usage:.0%} of the codes, perplexity {report['perplexity_per_scale'][side]:.0f}")
    rfid = worst = "-"
    if args.classifier:
        extractor = load_extractor("classifier", data=data, folder=args.classifier)
        found = reconstruction_report(tokenizer, images, extractor)
        shrunk = next(row["fid"] for row in sanity_report(images, extractor) if row["images"].startswith("shrunk"))
        print(f"rFID {found['rfid_train']:.2f} (corrected {found['rfid_train_corrected']:.2f})", end=", ")
        print(f"to validation images {found['rfid_validation']:.2f}")
        print(f"shrunk to 8x8 and back: {shrunk:.1f} = {shrunk / found['rfid_train']:.0f} times the tokenizer's rFID")
        rfid, worst = f"{found['rfid_train']:.2f}", f"{shrunk:.1f}"
    cells = [
        f"{data.name}, {data.resolution} px",
        args.preset,
        f"{config.patch_nums[-1]} x {config.patch_nums[-1]}",
        config.tokens_per_image,
        f"{report['psnr']:.2f}",
        rfid,
        worst,
        f"{seconds:.0f}",
    ]
    print(f"| {' | '.join(map(str, cells))} |")


if __name__ == "__main__":
    main()
