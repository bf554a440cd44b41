"""Every published format, there and back: whatever it allows gives the same outputs after it was a file."""

import numpy as np
import pytest
import torch

from tests.support.configs import published_var
from tests.support.published_weights import dit, kl, randomised, var, vq
from var_scaling.families.registry import family_of, model_of
from var_scaling.families.var.model import build_var
from var_scaling.planning import flops
from var_scaling.published import FORMATS, recognise
from var_scaling.state_dicts import Given, weights_hash
from var_scaling.tokenizers.registry import kind_of, module_of
from var_scaling.weight_files import read_weights, write_weights

MODULES = {
    "var": [
        {},
        {"shared_adaln": True},
        {"l2_norm": False},
        {"l2_norm": False, "shared_adaln": True},
        {"patch_nums": (2,)},
        {"patch_nums": (1, 3, 4, 7)},
    ],
    "dit": [{}, {"learned_variance": False}, {"target": "velocity"}, {"patch_size": 2, "latent_size": 4}],
    "vq": [
        {"phi_count": 1},
        {"phi_count": 2},
        {"phi_count": 3},
        {"norm_groups": 4, "phi_ratio": 0.25},
        {"middle": False, "attention": False, "stem_stride": 4, "image_channels": 1},
        {"patch_nums": (1, 3, 5), "stem_stride": 1, "multipliers": (1, 1, 2)},
    ],
    "kl": [
        {},
        {"attention": False, "middle": False},
        {"attention": False},
        {"variances": False, "outer_convolutions": False},
        {"norm_groups": 4, "image_channels": 1, "stem_stride": 1, "resolution": 8},
    ],
}
MAKE = {"var": var, "dit": dit, "vq": vq, "kl": kl}
CASES = [(name, changes) for name, all_ in MODULES.items() for changes in all_]


@torch.no_grad()
def outputs(name, module):
    """All that the format's users compute."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.tensor([0, 2])

    def normal(*shape):
        return torch.randn(shape, generator=generator)

    if name == "var":
        tokens = sum(module.sizes)
        return {"logits": module(labels, normal(2, tokens - module.sizes[0], module.latent_dim))}
    if name == "dit":
        x, t = normal(2, module.channels, module.latent_size, module.latent_size), torch.tensor([3, 900])
        return {"forward": module(x, t, labels)}
    images = torch.rand(2, module.image_channels, module.image_size, module.image_size, generator=generator) * 2 - 1
    latents = module.latents(images)
    found = {"features": module.features(images), "pictures": module.pictures(latents), **latents}
    return found | {f"derived {array}": module.derive(array, latents) for array in module.derived}


def check_equal(name, ours, theirs):
    before, after = outputs(name, ours), outputs(name, theirs)
    assert before.keys() == after.keys() and before
    for what, values in before.items():
        assert values.float().std() > 1e-3, f"{what} says something"
        torch.testing.assert_close(after[what], values, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("name", "changes"), CASES)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_there_and_back(name, changes, suffix, tmp_path):
    module, form = MAKE[name](**changes), FORMATS[name][1]
    given = form.given_of(module)
    write_weights(tmp_path / f"x{suffix}", form.names_of(module), given)
    checkpoint, said = read_weights(tmp_path / f"x{suffix}")
    assert recognise(checkpoint) == name
    assert said == (given if suffix == ".safetensors" else Given())
    back = form.read(checkpoint, said.under(given if suffix == ".pth" else Given()))
    check_equal(name, module, back)
    assert weights_hash(back) == weights_hash(module)


@pytest.mark.parametrize(("name", "changes"), CASES)
def test_the_config_of_a_module_builds_it_and_counts_its_parameters(name, changes):
    module = MAKE[name](**changes)
    config = FORMATS[name][1].config_of(module)
    if FORMATS[name][0] == "model":
        built = model_of(config).build(config)
        parameters = sum(parameter.numel() for parameter in module.parameters())
        assert sum(family_of(config).params(config).values()) == flops.params_total(config) == parameters
    else:
        built = module_of(config).build(config)
        assert kind_of(config).arrays(config) == (module.shape, module.derived)
    built.load_state_dict(module.state_dict())
    check_equal(name, module, built.eval())


def test_a_wrong_name_is_noticed():
    """The check bites: two tensors of one shape exchanged are other outputs."""
    module = var()
    state = FORMATS["var"][1].names_of(module)
    state["blocks.0.attn.q_bias"], state["blocks.0.attn.v_bias"] = (
        state["blocks.0.attn.v_bias"],
        state["blocks.0.attn.q_bias"],
    )
    with pytest.raises(AssertionError):
        check_equal("var", module, FORMATS["var"][1].read(state, Given(patch_nums=(1, 2, 3))))


def test_the_buffers_of_a_strict_loader_are_what_the_published_code_makes():
    """Who sees whom, worked out by hand for the sides 1 and 2: a token sees its scale and those before."""
    state = FORMATS["var"][1].names_of(var(patch_nums=(1, 2)))
    hidden = -np.inf
    assert state["lvl_1L"].tolist() == [[0, 1, 1, 1, 1]]
    bias = state["attn_bias_for_masking"][0, 0]
    assert bias[0].tolist() == [0, hidden, hidden, hidden, hidden] and not bias[1:].any()
    assert [f"blocks.{i}.attn.zero_k_bias" in state for i in range(3)] == [True] * 3


PUBLISHED = {6: 18_492_580, 16: 310_283_520, 20: 600_917_136, 24: 1_033_399_360, 30: 2_010_020_356}


@pytest.mark.parametrize(
    ("config", "total"),
    [(published_var(depth), total) for depth, total in PUBLISHED.items()]
    + [(published_var(36, adaln="shared", patch_nums=(1, 2, 3, 4, 6, 9, 13, 18, 24, 32)), 2_353_893_904)],
)
def test_parameter_totals_of_the_released_models(config, total):
    """var.md 1.7, on modules that hold no numbers; the scale list is the one of that many positions."""
    with torch.device("meta"):
        module = build_shape(config)
    assert sum(parameter.numel() for parameter in module.parameters()) == total
    read = FORMATS["var"][1].PUBLISHED_SIDES[module.pos_1LC.shape[1], module.lvl_embed.weight.shape[0]]
    assert read == config.patch_nums


def build_shape(config):
    from var_scaling.families.var.model import VAR

    return VAR(
        depth=config.depth,
        width=config.width,
        heads=config.head_count,
        patch_nums=config.patch_nums,
        vocab_size=config.vocab_size,
        latent_dim=config.latent_dim,
        num_classes=config.num_classes,
        shared_adaln=config.adaln == "shared",
    )


def test_greedy_samples_with_guidance_are_equal_after_a_file(tmp_path):
    model, tokenizer = var(), vq()
    for name, module in (("var", model), ("vq", tokenizer)):
        form = FORMATS[name][1]
        write_weights(tmp_path / f"{name}.safetensors", form.names_of(module), form.given_of(module))
    back = {name: FORMATS[name][1].read(*read_weights(tmp_path / f"{name}.safetensors")) for name in ("var", "vq")}
    labels = torch.tensor([0, 3])
    for guidance in (0.0, 1.5):
        ours = model.sample(labels, tokenizer, guidance, top_k=1)
        torch.testing.assert_close(back["var"].sample(labels, back["vq"], guidance, top_k=1), ours, rtol=0, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", FORMATS)
def test_other_dtypes_become_float32_and_it_is_said(name, dtype, caplog):
    module, form = MAKE[name](), FORMATS[name][1]
    state = {n: v.to(dtype) if v.is_floating_point() else v for n, v in form.names_of(module).items()}
    back = form.read(state, form.given_of(module))
    assert {value.dtype for value in back.state_dict().values() if value.is_floating_point()} == {torch.float32}
    assert str(dtype).removeprefix("torch.") in caplog.text and "float32" in caplog.text
    rounded = randomised(MAKE[name]())
    rounded.load_state_dict({n: v.to(dtype) for n, v in module.state_dict().items()})
    if name == "kl":  # its scale was no tensor of the file
        rounded.latent_mean.copy_(back.latent_mean), rounded.latent_std.copy_(back.latent_std)
    assert weights_hash(back) == weights_hash(rounded)


def test_build_var_takes_heads_apart_from_depth():
    config = FORMATS["var"][1].config_of(var(depth=3, width=10, heads=2))
    assert (config.heads, config.head_count, config.width, build_var(config).heads) == (2, 2, 10, 2)
    assert FORMATS["var"][1].config_of(var(depth=2)).heads == "depth"
