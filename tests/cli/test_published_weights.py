"""docs/published-weights.md, command by command, on tiny weights in the published formats; and what is refused."""

from __future__ import annotations

import json
import pickle
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.conftest import ROOT
from tests.support import published_weights as weights
from var_scaling.cli import scaling, sweep
from var_scaling.cli.run import run
from var_scaling.config import yaml
from var_scaling.planning import identity
from var_scaling.planning.identity import provisional
from var_scaling.planning.plan import make_plan, plan_to_launch
from var_scaling.planning.study import parse_study
from var_scaling.planning.trial import read_trial
from var_scaling.published import FORMATS
from var_scaling.state_dicts import Given
from var_scaling.weight_files import write_weights
from var_scaling.work.importing import import_file

PUBLISHED_SIDES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
PAGE = (ROOT / "docs" / "published-weights.md").read_text(encoding="utf-8")


def command(line: str, capsys: Any, monkeypatch: Any, expect: int = 0) -> str:
    """A command in this process; what it said."""
    program, *arguments = shlex.split(line)
    monkeypatch.setattr("sys.argv", [program, *arguments])
    with pytest.raises(SystemExit) as ended:
        run({"var-scaling": scaling.app, "var-sweep": sweep.app}[program])
    said = capsys.readouterr()
    assert ended.value.code == expect, f"{line}: {said.out} {said.err}"
    return said.out + said.err


@pytest.fixture
def say(capsys, monkeypatch, tmp_path):
    """Commands in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    return lambda line, expect=0: command(line, capsys, monkeypatch, expect)


def published(name: str, module: Any) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in FORMATS[name][1].names_of(module).items()}


def pictures(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for split, count in (("train", 10), ("val", 6)):
        for kind in ("cat", "dog"):
            (folder / split / kind).mkdir(parents=True)
            for number in range(count):
                coarse = rng.integers(0, 256, (4, 4, 3), np.uint8).repeat(16, 0).repeat(16, 1)
                Image.fromarray(coarse).save(folder / split / kind / f"{number}.png")


# What the page says of the released sizes, at those of the test.
SMALLER = {
    "DiT-XL-2-256x256.pt ": "DiT-XL-2-256x256.pt --heads 3 ",
    "var-d16": "var-d2-",
    "--box 64,64,192,192": "--box 16,16,48,48",
    "--count 50000": "--count 6",
    "--samples 50000": "--samples 320",
    "--features inception": "--features classifier",
    " tiny ": " tiny-raster ",
    "placement.image_folder=my_images": "placement.image_folder=my_images --set data.resolution=64",
    "resolution: 256": "resolution: 64, views: 1",
    "[2, 4, 8]": "[1]",
    "[20_480, 81_920]": "[16]",
    "var-sweep launch ladder.yaml": "var-sweep launch ladder.yaml --no-mlflow",
}


@pytest.mark.slow  # half a minute of CPU: eight workers start
def test_every_command_of_the_how_to(say, tmp_path):
    pictures(tmp_path / "my_images")
    vae = weights.vq(patch_nums=PUBLISHED_SIDES, channels=4, multipliers=(1,), stem_stride=4, middle=False)
    model = weights.var(depth=2, width=8, patch_nums=PUBLISHED_SIDES, num_classes=2)
    torch.save(published("vq", vae), tmp_path / "vae_ch160v4096z32.pth")
    trainer = {"var_wo_ddp": {f"module.{n}": v for n, v in published("var", model).items()}}
    torch.save({"trainer": trainer, "epoch": 3}, tmp_path / "var_d16.pth")
    torch.save({"ema": published("dit", weights.dit(latent_size=2))}, tmp_path / "DiT-XL-2-256x256.pt")
    save_file(published("kl", weights.kl(stem_stride=4)), tmp_path / "diffusion_pytorch_model.safetensors")
    text = PAGE
    for large, small in SMALLER.items():
        assert large in text, f"the premise: the page says {large}"
        text = text.replace(large, small)
    (study,) = re.findall(r"```yaml\n(.*?)```", text, re.S)
    brief = {"batch_size": 4, "warmup_images": 4}
    small = {**yaml.parse(study)[0]}
    small["base"] = {**small["base"], "train": brief, "model": {"head_dim": 8}}
    (tmp_path / "ladder.yaml").write_text(yaml.dump(small))
    lines = [line for block in re.findall(r"```bash\n(.*?)```", text, re.S) for line in block.splitlines()]
    assert len(lines) == 12 == len([line for line in lines if line.startswith(("var-scaling ", "var-sweep "))])
    short = "--set tokenizer.train.images=40 --set tokenizer.train.warmup_images=0 --set tokenizer.train.batch_size=4"
    said = [say(line + (f" {short}" if "compare" in line else "")) for line in lines]
    assert "below trainer.var_wo_ddp, without the prefix module." in said[0] and "imagefolder at 64 px" in said[0]
    assert "below ema" in said[1]
    assert Image.open(tmp_path / "samples.png").width > 64
    assert np.load(tmp_path / "samples.npz")["arr_0"].shape == (6, 64, 64, 3)
    answer = next(words for line, words in zip(lines, said, strict=True) if "tokenizer evaluate" in line)
    assert re.search(r"vae_ch160v4096z32: [\d.]+ dB PSNR", answer) and "10    16" in re.sub(" +", "    ", answer)
    (row,) = [json.loads(path.read_text()) for path in tmp_path.glob("runs/trials/*/budgets/16/row.json")]
    config = yaml.load(next(tmp_path.glob("runs/trials/*/config.yaml")))[0]
    assert config["tokenizer"]["preset"] == "imported" and row["images_seen"] == 16
    assert row["tokenizer"].startswith(config["tokenizer"]["weights"]), "a hash of the actual weights"
    assert "read back and equal" in said[-1] and "--patch-nums 1,2,3,4,5,6,8,10,13,16" in said[-1]
    again = torch.load(tmp_path / "mine_vae.pth", weights_only=True)
    kept = [name for name in published("vq", vae) if "ema_vocab" not in name]
    assert all(torch.equal(again[name], published("vq", vae)[name]) for name in kept)
    assert "(imported)" in say("var-scaling sample dit-d2 --to dit.png --runs runs")


# ---- in any study ---------------------------------------------------------------------------------------------------

STUDY = """
name: published
base:
  data: {name: world, resolution: 32}
  tokenizer: {weights: vae.pth, patch_nums: [1, 2, 4]}
  model: {head_dim: 4, depth: 2}
  train: {batch_size: 10, warmup_images: 30}
budgets: {images: [200]}
evaluate: {samples_grid: off}
"""


def plan(text: str = STUDY, *overrides: str, to_launch: bool = False) -> Any:
    make = plan_to_launch if to_launch else make_plan
    return make(*parse_study(text, "x", overrides), Path("runs"))


def small_vae(**changes: Any) -> Any:
    return weights.vq(patch_nums=(1, 2, 4), channels=4, stem_stride=4, middle=False, **changes)


def test_a_study_is_planned_before_its_weights_are_there_and_its_id_is_that_of_their_content(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (early,) = plan(STUDY, "tokenizer.preset=tiny", "tokenizer.vocab_size=11").trials
    assert early.provisional and early.config.tokenizer.weights == "provisional"
    with pytest.raises(Exception, match="are no file here"):
        plan()
    with pytest.raises(Exception, match="put the file there"):
        plan(STUDY, "tokenizer.preset=tiny", to_launch=True)
    module = small_vae()
    torch.save(published("vq", module), "vae.pth")
    with pytest.raises(Exception, match="have not been read yet; `var-scaling import vae.pth` reads them"):
        plan()
    (launched,) = plan(to_launch=True).trials
    assert not launched.provisional and not list(Path("runs").glob("trials")), "reading starts nothing"
    (planned,) = plan().trials
    assert planned.work.id == launched.work.id
    worker = read_trial(yaml.parse(yaml.dump(planned.work.config))[0])  # what a worker reads is what was planned
    assert identity.digest(identity.of_trial(worker)) == planned.work.id
    # The same tensors in another file, below a key, are the same study; others are another.
    write_weights(Path("other.safetensors"), {f"module.{n}": v for n, v in published("vq", module).items()}, Given())
    read("other.safetensors")
    assert plan(STUDY, "tokenizer.weights=other.safetensors").trials[0].work.id == launched.work.id
    name = launched.config.tokenizer.weights
    assert plan(STUDY, f"tokenizer.weights={name[:6]}").trials[0].work.id == launched.work.id
    changed = published("vq", module)
    changed["quant_conv.bias"] += 1e-6
    torch.save(changed, "vae.pth")
    with pytest.raises(Exception, match="have not been read yet"):
        plan()
    read("vae.pth")
    assert plan().trials[0].work.id != launched.work.id
    assert plan(STUDY, f"tokenizer.weights={name}").trials[0].work.id == launched.work.id
    assert not provisional(launched.work.identity)
    for override, says in (
        ("data.resolution=64", "ends at 4 but the latent of 64 px images is 8x8"),
        ("tokenizer.norm_groups=0", "greater than or equal to 1"),
        ("model.family=dit", "the weights give tokens"),
    ):
        with pytest.raises(Exception, match=says):
            plan(STUDY, f"tokenizer.weights={name}", override)


def read(file: str) -> None:
    """What `var-scaling import` does first."""
    import_file(Path("runs"), Path(file), Given(patch_nums=(1, 2, 4)))


def test_the_weights_of_a_model_are_no_tokenizer(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    torch.save(published("var", weights.var(patch_nums=(1, 2, 4))), "vae.pth")
    read("vae.pth")
    with pytest.raises(Exception, match="are those of a model"):
        plan()


# ---- what is refused ------------------------------------------------------------------------------------------------


class Code:
    def __reduce__(self):
        import os

        return os.mkdir, ("executed",)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2_000])


def write(state: Any, path: Path) -> None:
    if path.suffix == ".npz":
        np.savez(path, **{name: value.numpy() for name, value in state.items()})
    elif path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".npz"])
def test_all_kinds_of_files_and_each_cut_short(suffix, say, tmp_path):
    path = tmp_path / f"var{suffix}"
    write(published("var", weights.var()), path)
    assert "var, 6.5k parameters (6,497)" in say(f"var-scaling import {path} --patch-nums 1,2,3")
    cut(path)
    assert "is cut short or no file of weights" in say(f"var-scaling import {path} --patch-nums 1,2,3", 2)


def without(state: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        (lambda s: s, "", "the scale list of 14 positions in 3 scales is none that was published"),
        (lambda s: s, "--patch-nums 1,2,4", "makes 21 positions and the checkpoint has 14"),
        (lambda s: s, "--patch-nums 1,2", "makes 5 positions and the checkpoint has 14"),
        (lambda s: s, "--patch-nums 3,2,1", "must grow"),
        (lambda s: s, "--patch-nums 1,x", "write the side of each token map"),
        (lambda s: s, "--patch-nums 1,2,3 --heads 5", "the checkpoint has 2 heads, not 5"),
        (lambda s: s, "--patch-nums 1,2,3 --data world", "world has 100 classes, and the model 5"),
        (lambda s: s, "--patch-nums 1,2,3 --tokenizer nothing", "is no file here"),
        (lambda s: without(s, "blocks.1.ffn.fc1.bias"), "--patch-nums 1,2,3", "blocks.1.ffn.fc1.bias is missing"),
        (
            lambda s: without(s, "word_embed.weight"),
            "--patch-nums 1,2,3",
            "and has no word_embed.weight",
        ),
        (
            lambda s: s | {"blocks.0.ffn.fc1.weight": s["blocks.0.ffn.fc1.weight"].T.contiguous()},
            "--patch-nums 1,2,3",
            r"has shape (10, 40), expected (40, 10), its transpose",
        ),
        (lambda s: s | {"head.weight": s["head.weight"].to(torch.int8)}, "--patch-nums 1,2,3", ""),
        (lambda s: s | {"head.bias": s["head.bias"] * torch.nan}, "--patch-nums 1,2,3", "not finite: 11 in head.bias"),
        (lambda s: {"a": torch.zeros(1), "b": {"c": torch.zeros(2)}}, "", "its names: a, c"),
        (lambda s: [1, 2], "", "it is a list, no mapping"),
        (lambda s: s | {"head.bias": s["head.bias"].to(torch.float8_e4m3fn)}, "--patch-nums 1,2,3", "is float8_e4m3fn"),
    ],
)
def test_what_does_not_fit_is_a_sentence(change, options, says, say, tmp_path):
    torch.save(change(published("var", weights.var())), tmp_path / "var.pth")
    expect = 2 if says else 0
    said = say(f"var-scaling import var.pth {options}", expect)
    assert says in said.replace("\n", " ")
    if says:
        assert not list(tmp_path.glob("runs/store/import/*")) and "Traceback" not in said


def test_a_pickle_that_would_run_code_is_refused_and_runs_none(say, tmp_path):
    torch.save({"model": Code()}, tmp_path / "evil.pth")
    assert "to read it would run code" in say("var-scaling import evil.pth", 2)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Code()))
    say("var-scaling import plain.pth", 2)
    np.savez(tmp_path / "evil.npz", x=np.array([Code()], dtype=object))
    assert "pickled objects" in say("var-scaling import evil.npz", 2)
    assert not (tmp_path / "executed").exists()
    (tmp_path / "executed").mkdir()
    with pytest.raises(FileExistsError):  # the premise: this file does run code, for who lets it
        torch.load(tmp_path / "evil.pth", weights_only=False)


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("var-scaling import nowhere.pth", 3, "is not there"),
        ("var-scaling import notes.txt", 2, "has the suffix .txt"),
        ("var-scaling import .", 2, "no suffix"),
        ("var-scaling export nothing --out x.pth", 2, "no trial begins with `nothing`"),
        ("var-scaling tokenizer compare nothing tiny", 2, "nothing is no file here"),
        ("var-scaling tokenizer evaluate --features x", 2, "--features x is none of"),
    ],
)
def test_requests_that_cannot_be(line, code, says, say, tmp_path):
    (tmp_path / "notes.txt").write_text("")
    assert says in say(line, code)


def test_a_model_and_a_tokenizer_that_do_not_fit(say, tmp_path):
    torch.save(published("var", weights.var()), tmp_path / "var.pth")
    torch.save(published("vq", weights.vq(vocab_size=13)), tmp_path / "vae.pth")
    said = say("var-scaling import var.pth --tokenizer vae.pth --patch-nums 1,2,3", 2)
    assert "vocab_size is 11 of the model and 13 of the tokenizer" in said
    said = say("var-scaling import var.pth --patch-nums 1,2,3")
    assert "import it again with --tokenizer NAME" in said
    assert "was imported without its tokenizer" in say("var-scaling sample var-d3", 2)
    assert "was imported without its tokenizer" in say("var-scaling export var-d3 --tokenizer --out x.pth", 2)
    assert "end its name in one of them" in say("var-scaling export var-d3 --out x.bin2", 2)
