"""The tokenizer: what leaks where, sizes of every kind, and the quantiser against plain loops."""

import pytest
import torch
import torch.nn.functional as F

from var_scaling.tokenizers.vq.config import VQConfig, resolve_tokenizer
from var_scaling.tokenizers.vq.model import Tokenizer, build_tokenizer
from var_scaling.tokenizers.vq.quantizer import MultiScaleQuantizer, phi_of_scale

SIDES, BATCH, VOCAB, LATENT = (1, 2, 3, 5), 2, 23, 7


def make(**changes):
    sizes = dict(
        patch_nums=SIDES,
        vocab_size=VOCAB,
        latent_dim=LATENT,
        channels=6,
        multipliers=(1, 2),
        blocks=1,
        attention=True,
        image_channels=3,
        phi_count=3,
    )
    torch.manual_seed(0)
    return Tokenizer(**(sizes | changes)).eval()


def random_tokens(batch=BATCH, sides=SIDES, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(VOCAB, (batch, side * side), generator=generator) for side in sides]


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        (dict(), 10),
        (dict(image_channels=1, attention=False), 10),
        (dict(stem_stride=2, channels=10), 20),
        (dict(stem_stride=4, multipliers=(3,)), 20),
        (dict(multipliers=(1, 1, 3), blocks=2), 20),
        (dict(phi_count=1, middle=False), 10),
        (dict(phi_count=6), 10),
    ],
)
@torch.no_grad()
def test_shapes(changes, size):
    tokenizer = make(**changes)
    channels = changes.get("image_channels", 3)
    assert tokenizer.image_size == size
    images = torch.rand(BATCH, channels, size, size) * 2 - 1
    assert tokenizer.features(images).shape == (BATCH, LATENT, 5, 5)
    tokens = tokenizer.encode(images)
    assert [map_Bl.shape for map_Bl in tokens] == [(BATCH, side * side) for side in SIDES]
    assert tokenizer.teacher_forcing_input(tokens).shape == (BATCH, 4 + 9 + 25, LATENT)
    decoded = tokenizer.decode(tokens)
    assert decoded.shape == images.shape
    assert decoded.abs().max() <= 1
    assert tokenizer.decode(tokens[:2]).shape == images.shape


def test_images_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 3, 12, 12\) do not fit this tokenizer; give \(batch, 3, 10, 10\)"):
        make().features(torch.zeros(2, 3, 12, 12))


def check_no_leak(read, scale):
    """What is read at `scale` changes with each map before it and with no map from it on."""
    begin = sum(side * side for side in SIDES[1:scale])
    rows = slice(begin, begin + SIDES[scale] ** 2)
    for changed in range(len(SIDES)):
        tokens = random_tokens()
        before = read(tokens)[:, rows].clone()
        tokens[changed] = (tokens[changed] + 1) % VOCAB
        after = read(tokens)[:, rows]
        difference_B = (after - before).abs().amax((1, 2))
        if changed < scale:
            assert (difference_B > 1e-3).all()
        else:
            assert (difference_B == 0).all()


@pytest.mark.parametrize("scale", [1, 2, 3])
@torch.no_grad()
def test_what_a_scale_reads_does_not_depend_on_its_own_tokens(scale):
    check_no_leak(make().teacher_forcing_input, scale)


@torch.no_grad()
def test_the_leak_test_bites():
    """A reader that is one scale too far ahead, as in an off-by-one of the loop, is caught."""
    tokenizer = make()

    def leaky(tokens):
        pictures = tokenizer.quantize.pictures(tokens)[1:]
        return torch.cat([tokenizer.scale_input(picture, k + 1) for k, picture in enumerate(pictures)], dim=1)

    assert leaky(random_tokens()).shape == tokenizer.teacher_forcing_input(random_tokens()).shape
    with pytest.raises(AssertionError):
        check_no_leak(leaky, 2)


@torch.no_grad()
def test_scale_by_scale_equals_all_at_once():
    tokenizer, tokens = make(), random_tokens()
    picture, parts = tokenizer.empty_picture(BATCH), []
    for k, map_Bl in enumerate(tokens):
        if k:
            parts.append(tokenizer.scale_input(picture, k))
        picture = tokenizer.add_scale(picture, k, map_Bl)
    torch.testing.assert_close(torch.cat(parts, 1), tokenizer.teacher_forcing_input(tokens))
    torch.testing.assert_close(tokenizer.decode_picture(picture).clamp(-1, 1), tokenizer.decode(tokens))
    assert picture.abs().max() > 0.1


def quantiser(**changes):
    torch.manual_seed(3)
    return MultiScaleQuantizer(**(dict(patch_nums=SIDES, vocab_size=VOCAB, latent_dim=LATENT, phi_count=4) | changes))


def test_quantiser_against_a_plain_loop():
    module = quantiser(commitment=0.4)
    features = torch.randn(BATCH, LATENT, 5, 5, requires_grad=True)
    quantised = module(features)
    codes, residual, picture, loss = module.embedding.weight, features.detach(), 0, 0
    for k, side in enumerate(SIDES):
        small = F.adaptive_avg_pool2d(residual, side)
        tokens = torch.empty(BATCH, side * side, dtype=torch.long)
        for b in range(BATCH):
            for n in range(side * side):
                distance = [float((small[b, :, n // side, n % side] - code).square().sum()) for code in codes.detach()]
                tokens[b, n] = min(range(VOCAB), key=lambda i, distance=distance: distance[i])
        assert torch.equal(quantised.tokens[k], tokens)
        maps = codes[tokens].transpose(1, 2).view(BATCH, LATENT, side, side)
        full = maps if side == 5 else F.interpolate(maps, size=(5, 5), mode="bicubic")
        added = 0.5 * full + 0.5 * module.phis[k].conv(full)
        picture, residual = picture + added, residual - added.detach()
        loss += (picture - features.detach()).square().mean() + 0.4 * (picture.detach() - features).square().mean()
        torch.testing.assert_close(quantised.residuals[k], small.flatten(2).transpose(1, 2))
    torch.testing.assert_close(quantised.picture_BZHW, picture)
    torch.testing.assert_close(quantised.loss, loss / 4)
    assert torch.equal(torch.cat(module.encode(features.detach()), 1), torch.cat(quantised.tokens, 1))


def test_straight_through_and_where_gradients_go():
    module = quantiser()
    features = torch.randn(BATCH, LATENT, 5, 5, requires_grad=True)
    quantised = module(features)
    (grad,) = torch.autograd.grad(quantised.picture_BZHW.sum(), features, retain_graph=True)
    assert torch.equal(grad, torch.ones_like(grad))
    quantised.loss.backward()
    assert module.embedding.weight.grad.abs().sum() > 0
    assert module.phis[0].conv.weight.grad.abs().sum() > 0
    assert features.grad.abs().sum() > 0


def test_phi_of_scale():
    assert phi_of_scale(10, 4) == (0, 0, 1, 1, 1, 2, 2, 3, 3, 3)  # the published arithmetic, run
    assert phi_of_scale(4, 4) == (0, 1, 2, 3)
    assert phi_of_scale(6, 1) == (0,) * 6
    assert phi_of_scale(5, 5) == (0, 1, 2, 3, 4)
    assert phi_of_scale(3, 2) == (0, 0, 1)  # a tie goes to the coarser
    assert phi_of_scale(1, 4) == (0,)


def test_build_is_a_function_of_the_config():
    config = resolve_tokenizer(VQConfig(), resolution=32, channels=1, flip=False)
    torch.manual_seed(1)
    first = build_tokenizer(config).state_dict()
    torch.manual_seed(2)
    again = build_tokenizer(config).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_paper_preset_has_the_published_size():
    config = resolve_tokenizer(VQConfig(preset="paper"), resolution=256, channels=3, flip=True)
    with torch.device("meta"):
        tokenizer = build_tokenizer(config)
    millions = {
        name: sum(p.numel() for p in part.parameters()) / 1e6
        for name, part in [("encoder", tokenizer.encoder), ("decoder", tokenizer.decoder), ("all", tokenizer)]
    }
    assert millions["encoder"] == pytest.approx(44.11, abs=0.005)  # the published training log
    assert millions["decoder"] == pytest.approx(64.65, abs=0.005)
    assert millions["all"] == pytest.approx(108.95, abs=0.005)
