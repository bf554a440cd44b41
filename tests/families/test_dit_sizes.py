"""Parameters, FLOPs and bytes of a DiT against the module and torch's own counter, and the published table."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.support.configs import dit_config as config
from var_scaling.families.dit import sizes
from var_scaling.families.dit.config import DiTSampler, published_config, published_heads
from var_scaling.families.dit.model import build_dit

PUBLISHED = {  # parameters, billions of multiply-accumulates at 256 px: Peebles and Xie 2022, table 4
    "S/8": (33_148_160, 0.36),
    "S/4": (32_945_024, 1.41),
    "S/2": (32_963_360, 6.06),
    "B/8": (130_881_536, 1.42),
    "B/4": (130_475_648, 5.56),
    "B/2": (130_512_416, 23.01),
    "L/8": (458_594_816, 5.01),
    "L/4": (458_053_760, 19.70),
    "L/2": (458_102_816, 80.71),
    "XL/8": (675_683_072, 7.39),
    "XL/4": (675_074_432, 29.05),
    "XL/2": (675_129_632, 118.64),
}


configs = st.builds(
    config,
    depth=st.integers(1, 4),
    head_dim=st.integers(1, 3).map(lambda n: 4 * n),
    heads=st.integers(1, 5),
    patch_size=st.sampled_from([1, 2, 4]),
    latent_size=st.sampled_from([4, 8]),
    channels=st.integers(1, 5),
    classes=st.integers(1, 12),
    learned=st.booleans(),
)


def inputs(model_config, batch=1):
    shape = (batch, model_config.latent_channels, model_config.latent_size, model_config.latent_size)
    return torch.randn(shape), torch.arange(batch), torch.zeros(batch, dtype=torch.long)


def counted(call, backward=False):
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        out = call()
        if backward:
            out.square().sum().backward()
    return counter.get_total_flops()


@given(configs)
def test_equal_to_module_and_counter(model_config):
    model = build_dit(model_config)
    parts = sizes.params(model_config)
    assert sum(parts.values()) == sizes.params_total(model_config) == sum(p.numel() for p in model.parameters())
    assert sizes.frozen_params(model_config) == model.pos_embed.numel()
    assert parts["head"] == sum(p.numel() for p in model.final_layer.linear.parameters())
    assert parts["head_norm"] == sum(p.numel() for p in model.final_layer.adaLN_modulation.parameters())
    assert parts["adaln"] == sum(p.numel() for b in model.blocks for p in b.adaLN_modulation.parameters())
    for batch in (1, 3):
        x = inputs(model_config, batch)
        assert counted(lambda x=x: model(*x)) == batch * sizes.forward_flops_total(model_config)
        assert counted(lambda x=x: model(*x), backward=True) == batch * (
            3 * sizes.forward_flops_total(model_config) - sizes.input_flops(model_config)
        )
    for guidance in (0.0, 0.5):
        sampler = DiTSampler(steps=3, guidance=guidance)
        one_step = counted(lambda g=guidance: model.guided(*inputs(model_config), scale=g + 1))
        assert sizes.sample_flops(model_config, sampler) == 3 * one_step


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_table(name):
    model_config = published_config(name, latent_channels=4, latent_size=32, num_classes=1000)
    params, macs = PUBLISHED[name]
    assert sizes.params_total(model_config) + sizes.frozen_params(model_config) == params
    assert sizes.forward_flops_total(model_config) / 2e9 == pytest.approx(macs, abs=0.021)
    assert model_config.heads == published_heads(model_config.depth, model_config.width)


def test_exact_flops_of_the_largest():
    def flops(side):
        largest = published_config("XL/2", latent_channels=4, latent_size=side, num_classes=1000)
        return sizes.forward_flops_total(largest)

    assert (flops(32), flops(64)) == (237_242_843_136, 1_049_076_596_736)
    assert sizes.forward_flops_total(config(head_dim=16)) == 2_035_200


@pytest.mark.parametrize(("depth", "heads"), [(2, 2), (4, 4), (8, 4)])
@pytest.mark.parametrize("latent_size", [4, 16])
def test_bytes_held_for_the_backward_pass(depth, heads, latent_size):
    model_config = config(depth=depth, head_dim=16, heads=heads, patch_size=1, latent_size=latent_size)
    model, held = build_dit(model_config), {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if not any(storage.data_ptr() == p.untyped_storage().data_ptr() for p in model.parameters()):
            held[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    batch = 4
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model(*inputs(model_config, batch)).square().mean()
    measured = sum(size for size, _ in held.values()) / batch
    assert sizes.activation_bytes(model_config) == pytest.approx(measured, rel=0.02)


def test_the_half_that_plans_imports_no_torch():
    code = "import sys; import var_scaling.families.dit; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
