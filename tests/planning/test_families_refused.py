"""What a study of several families cannot ask for is refused in one sentence: the value, the rule and the way out."""

import pytest

from var_scaling.errors import RequestProblem
from var_scaling.planning.plan import make_plan
from var_scaling.planning.study import parse_study

DIT = "model: {family: dit, head_dim: 16, depth: 2, patch_size: 1}"
KL = "tokenizer: {preset: tiny-kl}"


def plan(*base, fid="samples: 2_000", runs):
    lines = "".join(f"  {line}\n" for line in ("data: {name: fashion-mnist-mini}", *base))
    text = f"name: x\nbase:\n{lines}budgets: {{images: [10_240]}}\nevaluate: {{fid: {{{fid}}}}}\n"
    study, configs = parse_study(text, "x.yaml")
    return make_plan(study, configs, runs, None)


@pytest.mark.parametrize(
    ("base", "fid", "words"),
    [
        (["model: {family: var, patch_size: 2}"], "samples: 2_000", r"line 4: unknown key `model.patch_size`"),
        ([DIT.replace("size: 1", "size: 8"), KL], "samples: 2_000", r"patch_size 8 does not divide .* 4; take one of"),
        (
            [DIT, "tokenizer: {preset: tiny}"],
            "samples: 2_000",
            r"stands on continuous, .* use one of the presets tiny-kl",
        ),
        (
            ["model: {family: var}", KL],
            "samples: 2_000",
            r"stands on tokens, and tokenizer.preset tiny-kl gives continuous",
        ),
        ([DIT, KL], "samples: 2_000, steps: 1_001", r"`evaluate.fid.steps` = 1001: .* 1000"),
        ([DIT, KL], "samples: 2_000, guided_channels: 5", r"guided_channels is 5 but the latent has 4 channels"),
        (
            ["model: {family: var, head_dim: 16, depth: 2}", "train: {label_drop: 0.0}"],
            "samples: 2_000, guidance: 1.5",
            r"guidance 1.5 with train.label_drop 0: .* use guidance 0",
        ),
        (
            ["model: {family: raster, head_dim: 16, depth: 2}", "tokenizer: {preset: tiny}"],
            "samples: 2_000",
            r"order = raster reads one token map",
        ),
    ],
)
def test_it_is_refused_in_a_sentence(base, fid, words, tmp_path):
    with pytest.raises(RequestProblem, match=words):
        plan(*base, fid=fid, runs=tmp_path)


def test_a_model_that_never_drew_without_a_class_is_sampled_without_guidance(tmp_path):
    planned = plan(
        "model: {family: var, head_dim: 16, depth: 2}",
        "train: {label_drop: 0.0}",
        fid="samples: 2_000, guidance: 0",
        runs=tmp_path,
    )
    assert len(planned.trials) == 1
