"""The continuous tokenizer: scale, posterior, published names, gradients, learning."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from var_scaling.errors import RequestProblem
from var_scaling.tokenizers.kl.config import KLTokenizerConfig, resolve_kl_tokenizer
from var_scaling.tokenizers.kl.model import KLTokenizer, Posterior, build_kl_tokenizer
from var_scaling.tokenizers.kl.published import load_kl_tokenizer, read_kl_tokenizer
from var_scaling.tokenizers.pixels import PixelTokenizer
from var_scaling.tokenizers.vq.config import VQConfig, resolve_tokenizer
from var_scaling.tokenizers.vq.model import build_tokenizer


def resolved(**changes):
    return resolve_kl_tokenizer(
        KLTokenizerConfig.model_validate({"channels": 8, **changes}), resolution=32, channels=1, flip=False
    )


def images(batch=6, channels=1, side=32, seed=0):
    """Smooth pictures: a few random waves each."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(batch, channels, 4, 4, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").tanh()


@torch.no_grad()
def shaken(model, seed=1):
    """None of the weights at a value that hides a mistake."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
    return model.eval()


def small(**changes):
    sizes = dict(latent_channels=4, resolution=16, channels=8, multipliers=(1, 2, 2), norm_groups=4)
    torch.manual_seed(0)
    return shaken(KLTokenizer(**(sizes | changes)))


# Latents and their scale


@pytest.mark.parametrize("kl", [1e-6, "off"])
@torch.no_grad()
def test_measured_latents_have_mean_0_and_std_1_and_pictures_do_not_change(kl):
    model = shaken(build_kl_tokenizer(resolved(train={"kl": kl})))
    truth = images(64)
    before = model.pictures(model.latents(truth))
    raw = model.latents(truth)["latents"]
    model.measure_scale(truth.split(13))
    ours = model.latents(truth)
    assert {name: (v.numpy().dtype, tuple(v.shape[1:])) for name, v in ours.items()} == model.shape
    assert model.shape == {"latents": (np.dtype("float32"), (4, 4, 4))}
    spread = ours["latents"].transpose(0, 1).flatten(1)
    torch.testing.assert_close(spread.mean(1), torch.zeros(4), rtol=0, atol=1e-5)
    torch.testing.assert_close(spread.std(1, correction=0), torch.ones(4), rtol=1e-4, atol=0)
    assert (raw - ours["latents"]).abs().max() > 0.1, "it was not so before"
    torch.testing.assert_close(model.pictures(ours), before, rtol=1e-4, atol=1e-5)
    kept = build_kl_tokenizer(resolved(train={"kl": kl}))
    kept.load_state_dict(model.state_dict())
    assert torch.equal(kept.eval().latents(truth)["latents"], ours["latents"]), "the scale is kept with the weights"


def test_a_dead_channel_is_refused():
    model = small()
    with torch.no_grad():
        model.quant_conv.weight[2].zero_()
    with pytest.raises(ValueError, match="channel 2 of the latents is the same"):
        model.measure_scale([images(4, 3, 16)])
    with pytest.raises(ValueError, match="give at least one batch"):
        model.measure_scale([])


def test_images_that_do_not_fit_are_refused():
    for model in (small(), PixelTokenizer(16, 3)):
        with pytest.raises(ValueError, match=r"give \(batch, 3, 16, 16\)"):
            model.latents(images(2, 3, 32))


def test_divergence_is_torchs_own():
    mean, log_variance = torch.randn(3, 4, 2, 2), torch.randn(3, 4, 2, 2)
    ours = Posterior(mean, log_variance).divergence()
    normal = torch.distributions.Normal(mean, torch.exp(0.5 * log_variance))
    theirs = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(ours, theirs.flatten(1).mean(1))
    noise = torch.randn(3, 4, 2, 2)
    torch.testing.assert_close(Posterior(mean, log_variance).sample(noise), normal.mean + normal.stddev * noise)
    assert Posterior(mean, None).sample(noise) is mean


def test_the_architecture_is_the_vq_tokenizers():
    """Same encoder and decoder: with the sizes of `tiny`, all but the last and first convolution are alike."""
    ours = build_kl_tokenizer(resolve_kl_tokenizer(KLTokenizerConfig(), resolution=32, channels=1, flip=False))
    vq_config = resolve_tokenizer(VQConfig(), resolution=32, channels=1, flip=False)
    theirs = build_tokenizer(vq_config)
    for part in ("encoder", "decoder"):
        shapes = [{n: tuple(v.shape) for n, v in getattr(model, part).state_dict().items()} for model in (ours, theirs)]
        assert shapes[0].keys() == shapes[1].keys()
        differing = {name.split(".")[0] for name in shapes[0] if shapes[0][name] != shapes[1][name]}
        assert differing == ({"conv_out"} if part == "encoder" else {"conv_in"})


# Gradients and learning


def test_gradients_reach_every_weight():
    model, truth = small(), images(2, 3, 16)
    posterior = model.posterior(truth)
    ours = model.decode_picture(posterior.sample(torch.randn(posterior.mean.shape)))
    (ours - truth).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    model.zero_grad()
    model.posterior(truth).divergence().mean().backward()
    touched = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert touched == {"encoder", "quant_conv"}


# Published names


def resnet(name, channels_in, channels_out):
    shapes = {
        f"{name}.norm1.weight": (channels_in,),
        f"{name}.norm1.bias": (channels_in,),
        f"{name}.conv1.weight": (channels_out, channels_in, 3, 3),
        f"{name}.conv1.bias": (channels_out,),
        f"{name}.norm2.weight": (channels_out,),
        f"{name}.norm2.bias": (channels_out,),
        f"{name}.conv2.weight": (channels_out, channels_out, 3, 3),
        f"{name}.conv2.bias": (channels_out,),
    }
    if channels_in != channels_out:
        shapes[f"{name}.conv_shortcut.weight"] = (channels_out, channels_in, 1, 1)
        shapes[f"{name}.conv_shortcut.bias"] = (channels_out,)
    return shapes


def convolution(name, channels_in, channels_out, kernel=3):
    return {f"{name}.weight": (channels_out, channels_in, kernel, kernel), f"{name}.bias": (channels_out,)}


def middle(side, width, words):
    shapes = {**resnet(f"{side}.mid_block.resnets.0", width, width)}
    attention = f"{side}.mid_block.attentions.0"
    shapes |= {f"{attention}.group_norm.weight": (width,), f"{attention}.group_norm.bias": (width,)}
    for word in words:
        shapes |= {f"{attention}.{word}.weight": (width, width), f"{attention}.{word}.bias": (width,)}
    return shapes | resnet(f"{side}.mid_block.resnets.1", width, width)


NEW, OLD = ("to_q", "to_k", "to_v", "to_out.0"), ("query", "key", "value", "proj_attn")


def published_shapes(channels=128, multipliers=(1, 2, 4, 4), latent=4, blocks=2, words=NEW):
    """Names and shapes of diffusers' AutoencoderKL, written down from its published architecture."""
    widths = [channels * multiplier for multiplier in multipliers]
    deepest, shapes = widths[-1], convolution("encoder.conv_in", 3, channels)
    before = channels
    for level, width in enumerate(widths):
        for block in range(blocks):
            shapes |= resnet(f"encoder.down_blocks.{level}.resnets.{block}", before, width)
            before = width
        if level < len(widths) - 1:
            shapes |= convolution(f"encoder.down_blocks.{level}.downsamplers.0.conv", width, width)
    shapes |= middle("encoder", deepest, words)
    shapes |= {"encoder.conv_norm_out.weight": (deepest,), "encoder.conv_norm_out.bias": (deepest,)}
    shapes |= convolution("encoder.conv_out", deepest, 2 * latent)
    shapes |= convolution("quant_conv", 2 * latent, 2 * latent, 1) | convolution("post_quant_conv", latent, latent, 1)
    shapes |= convolution("decoder.conv_in", latent, deepest) | middle("decoder", deepest, words)
    before = deepest
    for level, width in enumerate(reversed(widths)):
        for block in range(blocks + 1):
            shapes |= resnet(f"decoder.up_blocks.{level}.resnets.{block}", before, width)
            before = width
        if level < len(widths) - 1:
            shapes |= convolution(f"decoder.up_blocks.{level}.upsamplers.0.conv", width, width)
    shapes |= {"decoder.conv_norm_out.weight": (channels,), "decoder.conv_norm_out.bias": (channels,)}
    return shapes | convolution("decoder.conv_out", channels, 3)


def published_state(seed=0, **sizes):
    generator = torch.Generator().manual_seed(seed)
    return {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in published_shapes(**sizes).items()}


TINY = dict(channels=8, multipliers=(1, 2, 2), latent=3)


def test_the_published_autoencoder_has_these_names_and_84_million_weights():
    """The count of latent diffusion's f8 autoencoder, known from elsewhere, checks the list itself."""
    shapes = published_shapes()
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 83_653_863
    assert len(shapes) == 248
    with torch.device("meta"):
        model = KLTokenizer(latent_channels=4, resolution=256)
    assert sum(p.numel() for p in model.parameters()) == 83_653_863


@pytest.mark.parametrize("words", [NEW, OLD])
@torch.no_grad()
def test_published_names_load(words):
    state = published_state(**TINY, words=words)
    model = load_kl_tokenizer(state, resolution=16)
    truth = images(2, 3, 16)
    assert model.shape == {"latents": (np.dtype("float32"), (3, 4, 4))} and not model.training
    ours = model.latents(truth)["latents"]
    assert ours.std() > 1e-3
    torch.testing.assert_close(ours, 0.18215 * model.posterior(truth).mean)
    torch.testing.assert_close(
        model.pictures({"latents": ours}), model.decode_picture(model.posterior(truth).mean).clamp(-1, 1)
    )
    for theirs, mine in {
        "decoder.up_blocks.0.resnets.2.conv1.weight": "decoder.up.2.block.2.conv1.weight",
        "decoder.up_blocks.2.resnets.0.conv_shortcut.bias": "decoder.up.0.block.0.nin_shortcut.bias",
        "decoder.up_blocks.1.upsamplers.0.conv.bias": "decoder.up.1.upsample.conv.bias",
        "encoder.down_blocks.1.downsamplers.0.conv.weight": "encoder.down.1.downsample.conv.weight",
        "encoder.mid_block.resnets.1.norm2.weight": "encoder.mid.block_2.norm2.weight",
    }.items():
        if theirs in state:
            assert torch.equal(model.state_dict()[mine], state[theirs])


@torch.no_grad()
def test_attention_of_published_weights_is_what_their_linear_maps_say():
    """Worked out by hand from to_q, to_k, to_v: one head, scores over the square root of the width."""
    state = published_state(**TINY)
    block = load_kl_tokenizer(state, resolution=16).encoder.mid.attn_1
    x = torch.randn(2, 16, 3, 3)
    name = "encoder.mid_block.attentions.0"

    def linear(tokens, word):
        return tokens @ state[f"{name}.{word}.weight"].T + state[f"{name}.{word}.bias"]

    normed = torch.nn.functional.group_norm(
        x, 16, state[f"{name}.group_norm.weight"], state[f"{name}.group_norm.bias"], eps=1e-6
    )
    tokens = normed.flatten(2).transpose(1, 2)
    scores = linear(tokens, "to_q") @ linear(tokens, "to_k").transpose(1, 2) / 4.0
    out = linear(scores.softmax(-1) @ linear(tokens, "to_v"), "to_out.0")
    torch.testing.assert_close(block(x), x + out.transpose(1, 2).reshape(x.shape), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("decoder.conv_in.weight"), "it has no decoder.conv_in.weight"),
        (lambda s: s.pop("quant_conv.bias"), "quant_conv.bias is missing"),
        (lambda s: s.update({"loss.logvar": torch.zeros(1)}), "loss.logvar is unknown"),
        (lambda s: s.update({"post_quant_conv.bias": torch.zeros(9)}), r"has shape \(9,\), expected \(3,\)"),
        (lambda s: s.pop("encoder.mid_block.attentions.0.to_k.bias"), "encoder.mid.attn_1.qkv.bias is missing"),
    ],
)
def test_weights_that_do_not_fit(change, message, tmp_path):
    state = published_state(**TINY)
    change(state)
    with pytest.raises(ValueError, match=message):
        load_kl_tokenizer(state, resolution=16)
    save_file(state, tmp_path / "vae.safetensors")
    with pytest.raises(RequestProblem, match="cannot be read as a KL autoencoder"):
        read_kl_tokenizer(tmp_path / "vae.safetensors", 16)


def test_files_and_resolutions(tmp_path):
    save_file(published_state(**TINY), tmp_path / "vae.safetensors")
    assert read_kl_tokenizer(tmp_path / "vae.safetensors", 24).shape["latents"][1] == (3, 6, 6)
    with pytest.raises(ValueError, match="does not divide by the autoencoder's 4"):
        load_kl_tokenizer(published_state(**TINY), resolution=18)
    (tmp_path / "torn.safetensors").write_bytes(b"not a tensor")
    with pytest.raises(RequestProblem, match="torn.safetensors"):
        read_kl_tokenizer(tmp_path / "torn.safetensors", 16)


# Config


def test_presets():
    tiny = resolve_kl_tokenizer(KLTokenizerConfig(), resolution=32, channels=1, flip=False)
    assert (tiny.latent_channels, tiny.latent_size, tiny.train.images, tiny.train.kl) == (4, 4, 74_880, 1e-6)
    paper = resolve_kl_tokenizer(KLTokenizerConfig(preset="paper-kl"), resolution=256, channels=3, flip=True)
    assert (paper.latent_size, paper.downsampling, paper.latent_scale, paper.train.flip) == (32, 8, 0.18215, True)
    with pytest.raises(ValueError, match="30 px does not divide by 8"):
        resolve_kl_tokenizer(KLTokenizerConfig(), resolution=30, channels=1, flip=False)
    with pytest.raises(ValueError, match="below one batch"):
        resolve_kl_tokenizer(KLTokenizerConfig(train={"images": 3}), resolution=32, channels=1, flip=False)


def test_pixels_are_latents():
    tokenizer, truth = PixelTokenizer(16, 3), images(2, 3, 16)
    assert tokenizer.shape == {"latents": (np.dtype("float32"), (3, 16, 16))}
    assert torch.equal(tokenizer.pictures(tokenizer.latents(truth)), truth)
    assert float(tokenizer.pictures({"latents": 3 * truth}).abs().max()) == 1.0
