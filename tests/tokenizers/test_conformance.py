"""What every kind of tokenizer of the registry keeps: arrays as declared, images apart, weights by seed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from var_scaling.families.registry import families
from var_scaling.planning.resolve import resolve
from var_scaling.planning.trial import read_trial
from var_scaling.tokenizers.registry import kind_of, kinds, module_of, presets

IMAGES = 4
SMALL: dict[str, dict[str, Any]] = {  # a config of each kind, or a form of one
    "vq": {"preset": "tiny", "channels": 8},
    "vq-one-scale": {"preset": "tiny-raster", "channels": 8},
    "kl": {"preset": "tiny-kl", "channels": 8},
}


@pytest.fixture(params=SMALL)
def config(request: pytest.FixtureRequest) -> Any:
    family = {"tokens": "var", "continuous": "dit"}[presets()[SMALL[request.param]["preset"]].latents]
    return resolve(read_trial({"tokenizer": SMALL[request.param], "model": {"family": family, "depth": 2}})).tokenizer


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(IMAGES, 1, 32, 32, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)


def test_every_kind_has_a_case() -> None:
    assert {presets()[case["preset"]].name for case in SMALL.values()} == kinds().keys()


def test_no_two_kinds_share_a_preset() -> None:
    assert len(presets()) == sum(len(kind.presets) for kind in kinds().values())


def test_an_image_becomes_what_is_declared(config: Any, images: torch.Tensor) -> None:
    tokenizer, (shape, derived) = module_of(config).build(config).eval(), kind_of(config).arrays(config)
    assert (dict(tokenizer.shape), dict(tokenizer.derived)) == (dict(shape), dict(derived))
    with torch.no_grad():
        latents = tokenizer.latents(images)
        follow = {name: tokenizer.derive(name, latents) for name in derived}
    assert latents.keys() == shape.keys()
    for name, value in {**latents, **follow}.items():
        assert tuple(value.shape) == (IMAGES, *{**shape, **derived}[name][1]), name
    for name, (dtype, _) in shape.items():  # the cache holds an array in as few bytes as its values need
        stored = latents[name].to(getattr(torch, dtype))
        assert torch.equal(stored.to(latents[name].dtype), latents[name]), name


def test_pictures_are_pictures(config: Any, images: torch.Tensor) -> None:
    tokenizer = module_of(config).build(config).eval()
    with torch.no_grad():
        pictures = tokenizer.pictures(tokenizer.latents(images))
    assert pictures.shape == images.shape
    assert float(pictures.abs().max()) <= 1


def test_an_image_is_coded_by_itself(config: Any, images: torch.Tensor) -> None:
    tokenizer = module_of(config).build(config).eval()
    with torch.no_grad():
        whole, part = tokenizer.latents(images), tokenizer.latents(images[1:3])
        pictures = tokenizer.pictures(whole)
        some = tokenizer.pictures({name: value[1:3] for name, value in whole.items()})
    for name, value in whole.items():
        torch.testing.assert_close(part[name], value[1:3], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(some, pictures[1:3], rtol=1e-4, atol=1e-5)
    assert not torch.equal(pictures[0], pictures[1]), "the premise: images differ"


def test_weights_are_a_function_of_the_config(config: Any) -> None:
    first = module_of(config).build(config).state_dict()
    torch.manual_seed(12345)  # of whoever draws numbers elsewhere
    again = module_of(config).build(config).state_dict()
    assert first.keys() == again.keys()
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    other = module_of(config).build(
        config.model_copy(update={"train": config.train.model_copy(update={"seed": config.train.seed + 1})})
    )
    assert any(not torch.equal(value, other.state_dict()[name]) for name, value in first.items())


def test_facts_are_what_families_ask_for(config: Any) -> None:
    kind = kind_of(config)
    standing = [family for family in families().values() if family.latents == kind.latents]
    assert standing
    for family in standing:
        assert set(family.facts) - {"num_classes"} <= kind.facts(config).keys(), family.name
    assert all(value is not None for value in kind.facts(config).values())


def test_costs_are_stated(config: Any) -> None:
    encode, decode = kind_of(config).image_flops(config)
    assert encode > 1e5 and decode > 1e5
    assert kind_of(config).training_images(config) > 0
