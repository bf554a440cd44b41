"""Loading published checkpoints: names as published, and every difference said."""

import re

import pytest
import torch

from var_scaling.families.var.model import VAR
from var_scaling.published import load_tokenizer, load_var
from var_scaling.tokenizers.vq.model import Tokenizer

SIDES = (1, 2, 3)


def make_var(**changes):
    sizes = dict(depth=3, width=10, heads=2, patch_nums=SIDES, vocab_size=11, latent_dim=7, num_classes=13)
    torch.manual_seed(0)
    return VAR(**(sizes | changes))


def published_var(model):
    state = dict(model.state_dict())
    state["lvl_1L"] = torch.zeros(1, 14, dtype=torch.long)
    state["attn_bias_for_masking"] = torch.zeros(1, 1, 14, 14)
    for i in range(model.depth):
        state[f"blocks.{i}.attn.zero_k_bias"] = torch.zeros(model.width)
    return state


@pytest.mark.parametrize(("form", "heads"), [({}, None), ({"shared_adaln": True}, None), ({"l2_norm": False}, 2)])
def test_var_round_trip(form, heads):
    model = make_var(**form)
    loaded = load_var(published_var(model), SIDES, heads)
    assert not loaded.training
    assert loaded.heads == 2
    ours, theirs = model.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_heads_are_required_where_they_cannot_be_read():
    with pytest.raises(ValueError, match=r"scale_mul_1H11.*give heads="):
        load_var(make_var(l2_norm=False).state_dict(), SIDES)
    with pytest.raises(ValueError, match="does not divide into 3 heads"):
        load_var(make_var(l2_norm=False).state_dict(), SIDES, heads=3)
    with pytest.raises(ValueError, match="has 2 heads, not 5"):
        load_var(make_var().state_dict(), SIDES, heads=5)


def test_every_difference_is_listed():
    state = published_var(make_var())
    del state["blocks.1.ffn.fc1.bias"]
    state["rope.freqs"] = torch.zeros(3)
    state["head.bias"] = torch.zeros(4)
    with pytest.raises(ValueError, match="does not fit") as caught:
        load_var(state, SIDES)
    for part in (
        "blocks.1.ffn.fc1.bias is missing",
        "rope.freqs is unknown",
        "head.bias has shape (4,), expected (11,)",
    ):
        assert part in str(caught.value)
    with pytest.raises(ValueError, match=re.escape("pos_1LC has shape (1, 14, 10), expected (1, 30, 10)")):
        load_var(make_var().state_dict(), (1, 2, 3, 4))


def test_something_else_is_recognised_as_such():
    with pytest.raises(ValueError, match="not the state dict of a VAR checkpoint"):
        load_var({"x": torch.zeros(1)}, SIDES)
    with pytest.raises(ValueError, match="not the state dict of a tokenizer"):
        load_tokenizer(make_var().state_dict(), SIDES)


def phi_names(state, style):
    prefix = {
        "shared": "quantize.quant_resi.qresi.",
        "some": "quantize.quant_resi.qresi_ls.{}.",
        "own": "quantize.quant_resi.{}.",
    }
    return {
        re.sub(r"quantize\.phis\.(\d+)\.conv\.", lambda m: prefix[style].format(m[1]), k): v for k, v in state.items()
    }


@pytest.mark.parametrize(("style", "phis"), [("shared", 1), ("some", 2), ("own", 3)])
@pytest.mark.parametrize(("stem_stride", "middle", "attention"), [(1, True, True), (4, False, False), (2, False, True)])
def test_tokenizer_round_trip(style, phis, stem_stride, middle, attention):
    torch.manual_seed(0)
    model = Tokenizer(
        patch_nums=SIDES,
        vocab_size=11,
        latent_dim=7,
        channels=6,
        multipliers=(1, 3),
        blocks=2,
        stem_stride=stem_stride,
        middle=middle,
        attention=attention,
        image_channels=1,
        phi_count=phis,
    )
    state = phi_names(model.state_dict(), style)
    assert sum("quant_resi" in name for name in state) == 2 * phis
    state["quantize.ema_vocab_hit_SV"] = torch.zeros(3, 11)
    loaded = load_tokenizer(state, SIDES)
    ours, theirs = model.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert loaded.image_size == model.image_size
