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
    with pytest.raises(ValueError, match="makes 30 positions and the checkpoint has 14 "):
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


def nested(state, *keys):
    for key in reversed(keys):
        state = {key: state}
    return state


def prefixed(state, prefix):
    return {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (lambda s: prefixed(s, "module."), "without the prefix module."),
        (lambda s: prefixed(s, "module._orig_mod."), "without the prefix module._orig_mod."),
        (lambda s: {"state_dict": prefixed(s, "model."), "epoch": 3}, "below state_dict, without the prefix model."),
        (lambda s: {"model": make_var(depth=2).state_dict(), "ema": s, "opt": None}, "below ema, not from model"),
        (lambda s: {"args": [1], "trainer": {"var_wo_ddp": s, "vae_local": {}}}, "below trainer.var_wo_ddp"),
        (lambda s: s | {"epoch": 7, "best": None}, "no tensors: epoch, best"),
    ],
)
def test_weights_are_found_where_trainings_put_them_and_it_is_said(wrap, said, caplog):
    model = make_var()
    loaded = load_var(wrap(published_var(model)), SIDES)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    assert said in caplog.text


def test_a_plain_state_dict_is_taken_without_a_word_and_arrays_are_tensors(caplog):
    model = make_var()
    loaded = load_var({name: value.numpy() for name, value in published_var(model).items()}, SIDES)
    assert torch.equal(loaded.head.weight, model.head.weight)
    assert caplog.text == ""


def make_tokenizer(**changes):
    torch.manual_seed(0)
    sizes = dict(patch_nums=SIDES, vocab_size=11, latent_dim=8, channels=16, multipliers=(1, 2), blocks=1)
    return Tokenizer(**(sizes | changes))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda s: {n.replace("encoder.down.", "encoder.conv."): v for n, v in s.items()},
            "it has no encoder.down",
        ),
        (lambda s: {n: v for n, v in s.items() if ".phis." not in n}, "it has no phi convolutions"),
        (lambda s: [1, 2], "it is a list, no mapping"),
        (lambda s: None, "it is a NoneType, no mapping"),
        (lambda s: {}, "it has no encoder.conv_in.weight"),
        (lambda s: {1: 2, "state_dict": {3: 4}}, "it has no encoder.conv_in.weight"),
        (lambda s: s | {"encoder.conv_in.weight": None}, "encoder.conv_in.weight is no tensor"),
        (lambda s: s | {"encoder.conv_in.weight": torch.zeros(16)}, r"has shape \(16,\) where one of 4 dimensions"),
        (lambda s: s | {"encoder.conv_in.weight": torch.zeros(16, 3, 5, 5)}, "kernel 3, 4 or 8"),
        (lambda s: s | {"encoder.down.1.block.0.conv1.weight": torch.zeros(7, 16, 3, 3)}, "must be multiples"),
    ],
)
def test_foreign_tokenizers_are_refused_in_one_sentence(change, says):
    with pytest.raises(ValueError, match=says):
        load_tokenizer(change(dict(make_tokenizer().state_dict())), SIDES)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"heads": 0}, "into 0 heads"),
        ({"heads": -2}, "into -2 heads"),
        ({"patch_nums": ()}, r"patch_nums \[\]"),
        ({"patch_nums": (1, 0)}, r"patch_nums \[1, 0\]"),
    ],
)
def test_arguments_that_make_no_model_are_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        load_var(make_var(l2_norm=False).state_dict(), **({"patch_nums": SIDES, "heads": 2} | arguments))


def test_a_tokenizer_of_other_norm_groups_gives_its_own_tokens_only_with_them():
    model = make_tokenizer(norm_groups=8, phi_ratio=0.25).eval()
    images = torch.rand(2, 3, model.image_size, model.image_size) * 2 - 1
    right = load_tokenizer(model.state_dict(), SIDES, norm_groups=8, phi_ratio=0.25)
    wrong = load_tokenizer(model.state_dict(), SIDES)
    assert all(map(torch.equal, right.encode(images), model.encode(images)))
    assert torch.equal(right.decode(model.encode(images)), model.decode(model.encode(images)))
    assert not torch.equal(wrong.features(images), model.features(images))
