"""The transformer: what may see what, initialisation, drop path, and sampling against the full forward pass."""

import math

import pytest
import torch
import torch.nn.functional as F

from var_scaling.families.transformer.attention import attention, block_causal_attention, masked_attention
from var_scaling.families.var.config import VARConfig
from var_scaling.families.var.model import VAR, build_var
from var_scaling.tokenizers.vq.model import Tokenizer

SIDES, BATCH, HEADS, HEAD_DIM, VOCAB, LATENT, CLASSES, DEPTH = (1, 2, 3), 2, 3, 5, 11, 7, 13, 2
TOKENS = 14
ENDS = [1, 5, 14]


def make(**changes):
    sizes = dict(
        depth=DEPTH,
        width=HEADS * HEAD_DIM,
        heads=HEADS,
        patch_nums=SIDES,
        vocab_size=VOCAB,
        latent_dim=LATENT,
        num_classes=CLASSES,
    )
    torch.manual_seed(0)
    model = VAR(**(sizes | changes))
    with torch.no_grad():
        for parameter in model.parameters():  # none left at zero: every path carries something
            parameter.normal_(std=0.3)
        model.pos_1LC.mul_(5)  # positions and classes differ enough to choose different tokens
        model.class_emb.weight.mul_(5)
    return model


def inputs(batch=BATCH):
    generator = torch.Generator().manual_seed(1)
    labels_B = torch.arange(batch) * 5 % CLASSES
    return labels_B, torch.randn(batch, TOKENS - 1, LATENT, generator=generator)


FORMS = [dict(), dict(shared_adaln=True), dict(l2_norm=False)]


@pytest.mark.parametrize("form", FORMS)
def test_forward_shape_and_equality_with_the_masked_form(form):
    ours, masked = make(**form), make(**form, masked=True)
    labels_B, x_BLZ = inputs()
    logits_BLV = ours(labels_B, x_BLZ)
    assert logits_BLV.shape == (BATCH, TOKENS, VOCAB)
    assert logits_BLV.std() > 0.1
    torch.testing.assert_close(logits_BLV, masked(labels_B, x_BLZ), rtol=1e-5, atol=1e-5)
    for model in (ours, masked):
        model(labels_B, x_BLZ).square().sum().backward()
    for (name, a), b in zip(ours.named_parameters(), masked.parameters(), strict=True):
        assert a.grad is not None, name
        assert a.grad.abs().max() > 0, name
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-4, msg=name)


def test_attention_against_four_plain_lines():
    torch.manual_seed(2)
    q, k, v = torch.randn(3, BATCH, HEADS, TOKENS, HEAD_DIM, dtype=torch.float64)
    level = torch.tensor([0] + [1] * 4 + [2] * 9)
    scores = (q @ k.transpose(2, 3)) * 0.7
    plain = scores.masked_fill(level[:, None] < level[None, :], -math.inf).softmax(-1) @ v
    sizes = [1, 4, 9]
    q, k, v, plain = (x.transpose(1, 2) for x in (q, k, v, plain))
    torch.testing.assert_close(block_causal_attention(sizes)(q, k, v, 0.7), plain)
    torch.testing.assert_close(masked_attention(sizes)(q, k, v, 0.7), plain)


def check_causality(model, scale):
    """For each token of a scale: no gradient from a later scale, and some from every token of its own and earlier."""
    labels_B, x_BLZ = inputs(1)
    x_BLZ.requires_grad_()
    begin, end = ([0, *ENDS])[scale], ENDS[scale]
    for token in {begin, end - 1}:
        loss = model(labels_B, x_BLZ)[:, token].square().sum()
        (grad_BLZ,) = torch.autograd.grad(loss, x_BLZ)
        grad_L = F.pad(grad_BLZ[0].abs().amax(-1), (1, 0))  # position 0 is the class token
        assert (grad_L[end:] == 0).all()
        assert (grad_L[1:end] > 0).all()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("scale", [0, 1, 2])
def test_gradient_causality(scale, masked):
    check_causality(make(masked=masked), scale)


def without_mask(q, k, v, scale):
    return attention(q, k, v, scale)


def token_causal(q, k, v, scale):
    return attention(q, k, v, scale, torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril())


@pytest.mark.parametrize("wrong", [without_mask, token_causal])
def test_the_causality_test_bites(wrong):
    model = make()
    for block in model.blocks:
        block.attn.attend = wrong
    with pytest.raises(AssertionError):
        check_causality(model, scale=1)


def config(**changes):
    sizes = dict(depth=3, head_dim=5, patch_nums=SIDES, vocab_size=VOCAB, latent_dim=LATENT, num_classes=CLASSES)
    return VARConfig(**(sizes | dict(gamma_init=1e-3, drop_path=0.2) | changes))


def test_initial_weights_are_a_function_of_the_seed_alone():
    torch.manual_seed(5)
    first = build_var(config(), seed=3).state_dict()
    torch.manual_seed(6)
    state = torch.random.get_rng_state()
    again, other = build_var(config(), seed=3).state_dict(), build_var(config(), seed=4).state_dict()
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator is left alone"
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


@pytest.mark.parametrize("adaln", ["per-block", "shared"])
def test_published_initialisation(adaln):
    gamma = 1e-3
    model = build_var(config(depth=8, head_dim=16, adaln=adaln, gamma_init=gamma, vocab_size=512), seed=0)
    width, std = 128, math.sqrt(1 / (3 * 128))
    block, close = model.blocks[4], lambda x, value: math.isclose(float(x.detach().std()), value, rel_tol=0.05)
    assert close(block.attn.mat_qkv.weight, std)
    assert close(block.attn.proj.weight, std / 4)  # sqrt(2 * 8)
    assert close(block.ffn.fc2.weight, std / 4)
    assert close(model.head.weight, 0.02 * std)
    assert close(model.head_nm.ada_lin[1].weight, 0.5 * std)
    assert close(model.pos_1LC, std)
    assert float(block.attn.scale_mul_1H11.detach().exp().mean()) == pytest.approx(4.0)
    if adaln == "shared":
        assert close(model.shared_ada_lin[1].weight, std)
        assert close(block.ada_gss[0, 0, 2:], 0.5 / math.sqrt(width))
        assert float(block.ada_gss[0, 0, :2].detach().abs().max()) < 5 * gamma / math.sqrt(width)
    else:
        assert close(block.ada_lin[1].weight[: 2 * width], gamma * std)
        assert close(block.ada_lin[1].weight[2 * width :], 0.5 * std)
    assert all(float(p.detach().abs().max()) == 0 for name, p in model.named_parameters() if name.endswith("bias"))
    labels_B, x_BLZ = inputs()
    loss = F.cross_entropy(model(labels_B, x_BLZ).flatten(0, 1), torch.arange(BATCH * TOKENS))
    assert loss.item() == pytest.approx(math.log(512), abs=0.01)


def test_unresolved_config_is_refused():
    with pytest.raises(ValueError, match="model.vocab_size is not set"):
        build_var(config(vocab_size=None))


def test_drop_path():
    model = make(drop_path=0.2)
    torch.testing.assert_close(model.drop_path_rates(), torch.tensor([0.0, 0.0, 0.2, 0.2]))
    labels_B, x_BLZ = inputs()
    plain = model(labels_B, x_BLZ)
    torch.testing.assert_close(model(labels_B, x_BLZ, torch.ones(4, BATCH)), plain)
    for branch in range(4):
        keep_DB = torch.ones(4, BATCH)
        keep_DB[branch, 0] = 0
        dropped = model(labels_B, x_BLZ, keep_DB)
        assert (dropped[0] - plain[0]).abs().max() > 1e-3
        torch.testing.assert_close(dropped[1], plain[1])
    x_first = model(labels_B, x_BLZ, torch.zeros(4, BATCH))
    with torch.no_grad():
        embedded = torch.cat((model.class_emb(labels_B)[:, None] + model.pos_start, model.word_embed(x_BLZ)), dim=1) + (
            model.pos_1LC + model.lvl_embed(model.lvl_1L)
        )
        bare = model.logits(embedded, model.head_nm.modulation(F.silu(model.class_emb(labels_B))))
    torch.testing.assert_close(x_first, bare)


def test_forward_consumes_no_random_numbers():
    model = make(drop_path=0.3).train()
    state = torch.random.get_rng_state()
    first = model(*inputs())
    assert torch.equal(first, model(*inputs()))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_autocast_runs_and_stays_close():
    model = make()
    labels_B, x_BLZ = inputs()
    exact = model(labels_B, x_BLZ)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(labels_B, x_BLZ, torch.ones(4, BATCH))
        half.square().mean().backward()
    assert half.dtype == torch.float32
    assert 0 < float((half - exact).detach().abs().mean()) < 0.05 * float(exact.detach().std())


def small_tokenizer(sides=SIDES, latent=LATENT, vocab=VOCAB):
    torch.manual_seed(7)
    return Tokenizer(
        patch_nums=sides,
        vocab_size=vocab,
        latent_dim=latent,
        channels=6,
        multipliers=(1,),
        blocks=1,
        stem_stride=2,
        image_channels=1,
    ).eval()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("guidance", [0.0, 1.5])
def test_cached_sampling_equals_the_full_forward(form, guidance):
    """Greedy tokens of each scale are those that the teacher-forced model puts first, given the tokens before."""
    model, tokenizer = make(**form).eval(), small_tokenizer()
    labels_B = torch.tensor([4, 9, 0])
    with torch.no_grad():
        tokens = model.sample_tokens(labels_B, tokenizer, guidance=guidance, top_k=1)
        x_BLZ = tokenizer.teacher_forcing_input(tokens)
        conditional = model(labels_B, x_BLZ)
        unconditional = model(torch.full_like(labels_B, CLASSES), x_BLZ)
    t_L = torch.tensor([0.0] + [0.5] * 4 + [1.0] * 9)[:, None] * guidance
    guided = (1 + t_L) * conditional - t_L * unconditional
    assert ((guided - conditional).abs().max() > 0.1) == (guidance > 0), "the premise: guidance shows where it is"
    sampled_BL = torch.cat(tokens, dim=1)
    assert [t.shape for t in tokens] == [(3, 1), (3, 4), (3, 9)]
    assert len(sampled_BL.unique()) > 3
    assert torch.equal(sampled_BL, guided.argmax(-1))


def test_sampling_is_a_function_of_generator_or_addresses():
    model, tokenizer = make().eval(), small_tokenizer()
    labels_B = torch.tensor([4, 9, 0])

    def draw(seed):
        return model.sample(labels_B, tokenizer, top_k=0, top_p=0, generator=torch.Generator().manual_seed(seed))

    assert draw(1).shape == (3, 1, 6, 6)
    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    uniform_BL = torch.rand(3, TOKENS, generator=torch.Generator().manual_seed(3))
    together = model.sample_tokens(labels_B, tokenizer, uniform_BL=uniform_BL)
    alone = model.sample_tokens(labels_B[1:2], tokenizer, uniform_BL=uniform_BL[1:2])
    assert torch.equal(torch.cat(together, 1)[1:2], torch.cat(alone, 1))


def test_a_single_scale_is_a_model_too():
    model, tokenizer = make(patch_nums=(3,)).eval(), small_tokenizer(sides=(3,))
    labels_B = torch.tensor([1, 2])
    tokens = model.sample_tokens(labels_B, tokenizer, top_k=1)
    x_BLZ = tokenizer.teacher_forcing_input(tokens)
    assert x_BLZ.shape == (2, 0, LATENT)
    with torch.no_grad():
        assert torch.equal(tokens[0], model(labels_B, x_BLZ).argmax(-1))
