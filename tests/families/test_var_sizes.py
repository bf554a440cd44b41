"""FLOPs and parameters against torch's own counter with `==`, and the numbers of the published model."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.support.configs import published_var as published
from tests.support.configs import var_config as config
from var_scaling.families.var import FAMILY, sizes
from var_scaling.families.var.config import VARSampler
from var_scaling.families.var.model import build_var
from var_scaling.planning import flops


def counted(model_config, *, masked, backward, batch=1):
    model = build_var(model_config, masked=masked)
    first = model_config.patch_nums[0] ** 2
    labels_B = torch.zeros(batch, dtype=torch.long)
    x_BLZ = torch.randn(batch, model_config.tokens_per_image - first, model_config.latent_dim)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        logits = model(labels_B, x_BLZ)
        if backward:
            logits.square().sum().backward()
    return counter.get_total_flops()


def check(model_config):
    assert counted(model_config, masked=True, backward=False) == flops.forward_flops_per_image(model_config)
    assert counted(model_config, masked=True, backward=True) == flops.train_flops_per_image(model_config)
    assert counted(model_config, masked=False, backward=False) == flops.forward_flops_visible_per_image(model_config)
    assert counted(model_config, masked=False, backward=True) == flops.train_flops_visible_per_image(model_config)
    parts = flops.params(model_config)
    model = build_var(model_config)
    assert sum(parts.values()) == flops.params_total(model_config) == sum(p.numel() for p in model.parameters())
    assert parts["head"] == sum(p.numel() for p in model.head.parameters())
    assert parts["head_norm"] == sum(p.numel() for p in model.head_nm.parameters())
    adaln = [p for name, p in model.named_parameters() if "ada" in name and "head_nm" not in name]
    assert parts["adaln"] == sum(p.numel() for p in adaln) > 0


scales = st.lists(st.integers(1, 6), min_size=1, max_size=4, unique=True).map(lambda sides: tuple(sorted(sides)))


@given(
    st.builds(
        config,
        depth=st.integers(1, 4),
        head_dim=st.integers(2, 9),
        patch_nums=scales,
        vocab_size=st.integers(2, 40),
        latent_dim=st.integers(1, 9),
        num_classes=st.integers(1, 20),
        adaln=st.sampled_from(["per-block", "shared"]),
        attention=st.sampled_from(["l2-norm", "scaled"]),
    )
)
def test_equal_to_the_counter(model_config):
    check(model_config)


def test_a_wrong_count_is_noticed(monkeypatch):
    """The check bites: adaptive norms counted once a token, as 6ND does, are caught."""
    honest = FAMILY.forward_flops

    def once_a_token(model_config, *, visible=False):
        parts = honest(model_config, visible=visible)
        return parts | {"adaln": parts["adaln"] * model_config.tokens_per_image}

    check(config())
    monkeypatch.setattr(type(FAMILY), "forward_flops", staticmethod(once_a_token))
    with pytest.raises(AssertionError):
        check(config())


def test_counts_are_per_image():
    assert counted(config(), masked=False, backward=True, batch=3) == 3 * flops.train_flops_visible_per_image(config())


def test_visible_is_less_than_dense_and_equal_for_one_scale():
    assert flops.train_flops_visible_per_image(config()) < flops.train_flops_per_image(config())
    one = config(patch_nums=(3,))
    assert flops.train_flops_visible_per_image(one) == flops.train_flops_per_image(one)


@pytest.mark.parametrize(
    ("depth", "total"),
    [
        (4, 6_358_800),
        (6, 18_492_580),
        (8, 41_315_904),
        (10, 78_367_716),
        (12, 133_186_960),
        (14, 209_312_580),
        (16, 310_283_520),
        (18, 439_638_724),
        (20, 600_917_136),
        (24, 1_033_399_360),
        (30, 2_010_020_356),
    ],
)
def test_published_parameters(depth, total):
    assert flops.params_total(published(depth)) == total


def test_published_numbers():
    d16 = published(16)
    assert d16.tokens_per_image == 680
    assert sizes.attended_pairs(d16) == 286_434
    parts = flops.params(d16)
    assert parts["adaln"] + parts["head_norm"] == 102_860_800
    assert flops.forward_flops_per_image(published(4)) == 7_612_776_448
    assert flops.forward_flops_per_image(d16) == 310_062_284_800
    assert flops.forward_macs_per_image(d16) == 155_031_142_400
    assert flops.train_flops_per_image(d16) / 1e11 == pytest.approx(9.301, abs=5e-4)
    assert flops.train_flops_per_image(published(12)) / 1e11 == pytest.approx(4.108, abs=5e-4)
    backward = [
        flops.train_flops_per_image(published(d)) / flops.forward_flops_per_image(published(d)) - 1 for d in (4, 16)
    ]
    assert backward[0] < backward[1] < 2.0
    assert backward[1] == pytest.approx(2.0, abs=5e-4)
    shared = published(36, adaln="shared", patch_nums=(1, 2, 3, 4, 6, 9, 13, 18, 24, 32))
    assert flops.params_total(shared) == 2_353_893_904


def test_six_nd_drifts_with_depth():
    ratio = [flops.six_nd_per_image(published(d)) / flops.train_flops_per_image(published(d)) for d in (4, 8, 12, 16)]
    assert ratio == pytest.approx([1.14, 1.26, 1.32, 1.36], abs=0.005)


def saved_bytes(model_config, batch=3):
    """What autograd keeps of one image's forward pass and loss, weights left out."""
    model = build_var(model_config)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, so that no address is used twice
        return tensor

    first = model_config.patch_nums[0] ** 2
    x_BLZ = torch.randn(batch, model_config.tokens_per_image - first, model_config.latent_dim)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = model(torch.zeros(batch, dtype=torch.long), x_BLZ)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.zeros(logits[..., 0].numel()).long())
    assert loss.requires_grad
    return sum(size for size, _ in kept.values()) / batch


@pytest.mark.parametrize("depth", [2, 4, 8])
def test_activation_estimate_is_near_what_autograd_keeps(depth):
    model_config = config(depth=depth, head_dim=16, patch_nums=(1, 2, 3, 4), vocab_size=37, latent_dim=16)
    estimate = sizes.activation_bytes(model_config)
    assert estimate == pytest.approx(saved_bytes(model_config), rel=0.1)


def test_state_in_bytes():
    model_config = config()
    assert flops.parameter_bytes(model_config) == 4 * flops.params_total(model_config)
    guided, plain = VARSampler(guidance=1.5), VARSampler(guidance=0.0)
    assert sizes.sample_bytes(published(16), guided) == 178_257_920  # 2 x 89 MB
    assert sizes.sample_flops(model_config, plain) == flops.forward_flops_visible_per_image(model_config)
    assert sizes.sample_flops(model_config, guided) == 2 * sizes.sample_flops(model_config, plain)
