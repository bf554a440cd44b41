"""What may be asked of a tokenizer, and the sentences that say what may not."""

from itertools import pairwise

import pytest
from pydantic import BaseModel, ValidationError

from var_scaling.tokenizers.autoencoder_config import GanConfig
from var_scaling.tokenizers.vq.config import (
    CodebookConfig,
    TokenizerTrainConfig,
    VQConfig,
    ladder,
    resolve_tokenizer,
)


def resolve(resolution=32, channels=1, flip=False, **fields):
    return resolve_tokenizer(VQConfig(**fields), resolution=resolution, channels=channels, flip=flip)


def unset(model, path=""):
    for name, value in model:
        if value is None:
            yield path + name
        elif isinstance(value, BaseModel):
            yield from unset(value, f"{path}{name}.")


@pytest.mark.parametrize("preset", ["tiny", "small", "paper"])
def test_nothing_is_left_open(preset):
    resolution = 256 if preset == "paper" else 32
    config = resolve(resolution=resolution, channels=3, flip=True, preset=preset)
    assert list(unset(config)) == []
    assert (config.resolution, config.image_channels, config.train.flip) == (resolution, 3, True)
    assert config.patch_nums[-1] * config.downsampling == resolution
    assert resolve_tokenizer(config, resolution=resolution, channels=3, flip=False) == config, "resolving is idempotent"


def test_presets_of_the_issue():
    tiny, small, paper = resolve(), resolve(preset="small"), resolve(resolution=256, channels=3, preset="paper")
    assert (tiny.patch_nums, tiny.vocab_size, tiny.latent_dim) == ((1, 2, 3, 4), 512, 16)
    assert (small.patch_nums, small.vocab_size) == ((1, 2, 3, 4, 6, 8), 512)
    assert (paper.vocab_size, paper.latent_dim, paper.channels, paper.tokens_per_image) == (4096, 32, 160, 680)


@pytest.mark.parametrize("resolution", [48, 64, 96, 128, 256])
@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_a_preset_fits_every_size_that_divides(preset, resolution):
    config = resolve(resolution=resolution, preset=preset)
    assert config.patch_nums[0] == 1 and config.patch_nums[-1] == resolution // config.downsampling
    assert all(a < b <= max(2 * a, 2) for a, b in pairwise(config.patch_nums)), "no step is more than a doubling"


def test_the_rule_of_a_ladder_gives_the_published_list_of_512_px():
    assert ladder(32) == (1, 2, 3, 4, 6, 9, 13, 18, 24, 32)
    assert resolve().patch_nums == ladder(4) and resolve(preset="small").patch_nums == ladder(8)
    assert resolve(resolution=512, channels=3, preset="paper").patch_nums == ladder(32)


def test_what_is_written_wins_over_the_preset():
    gan = GanConfig(weight=0.2)
    codebook = CodebookConfig(update="gradient")
    train = TokenizerTrainConfig(images=640, gan=gan, codebook=codebook, flip=True)
    config = resolve(vocab_size=99, train=train)
    assert (config.vocab_size, config.train.images, config.train.gan, config.train.codebook, config.train.flip) == (
        99,
        640,
        gan,
        codebook,
        True,
    )


@pytest.mark.parametrize(
    ("data", "fields", "sentence"),
    [
        (dict(), dict(patch_nums=(1, 3, 2, 4)), r"patch_nums \[1, 3, 2, 4\] must .* increase strictly"),
        (dict(), dict(patch_nums=(1, 2, 2, 4)), r"patch_nums \[1, 2, 2, 4\] must .* increase strictly"),
        (dict(), dict(patch_nums=(0, 4)), "must be positive"),
        (dict(), dict(patch_nums=()), "must be positive"),
        (
            dict(),
            dict(patch_nums=(1, 2, 3)),
            r"ends at 3 but the latent of 32 px images is 4x4 .*; leave it out, end it at 4",
        ),
        (dict(resolution=64), dict(patch_nums=(1, 4)), r"is 8x8 .* or change data.resolution"),
        (dict(resolution=28), dict(), r"a resolution of 28 px does not divide by 8 .*use data.resolution 32"),
        (dict(), dict(channel_multipliers=()), "one positive number a level"),
        (dict(), dict(channel_multipliers=(1, 0)), "one positive number a level"),
        (dict(), dict(resolution=64), "tokenizer.resolution is 64 but the data have 32; leave it out"),
        (dict(), dict(image_channels=3), "tokenizer.image_channels is 3 but the data have 1"),
        (dict(), dict(train=TokenizerTrainConfig(images=10)), "images 10 is below one batch of 32"),
    ],
)
def test_impossible_requests_are_sentences(data, fields, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        resolve_tokenizer(VQConfig(**fields), **(dict(resolution=32, channels=1, flip=False) | data))
    assert not isinstance(caught.value, ValidationError)


def test_all_problems_at_once():
    with pytest.raises(ValueError, match="increase strictly.*below one batch"):
        resolve(patch_nums=(2, 1), train=TokenizerTrainConfig(images=1))


def test_no_coercion():
    for fields in (dict(vocab_size="512"), dict(patch_nums=[1, 2]), dict(vocab=512), dict(vocab_size=1)):
        with pytest.raises(ValidationError):
            VQConfig(**fields)
