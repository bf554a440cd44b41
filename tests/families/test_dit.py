"""A DiT of any size: state dicts, labels, guidance, samplers, addressed draws, learning."""

from functools import partial

import numpy as np
import pytest
import torch

from tests.support.configs import dit_config as config
from var_scaling.config.train import TrainConfig
from var_scaling.families.base import Batch
from var_scaling.families.dit import FAMILY, training
from var_scaling.families.dit.config import DiTConfig, DiTSampler, problems
from var_scaling.families.dit.diffusion import GaussianDiffusion, respaced_timesteps
from var_scaling.families.dit.model import build_dit
from var_scaling.families.dit.recipe import PAPER_SAMPLER
from var_scaling.families.dit.sampling import addressed_noise, draw, noises
from var_scaling.families.dit.training import draws, groups, loss, validate
from var_scaling.published import load_dit

TRAIN = TrainConfig(label_drop=0.1)


def drawn_at(model_config, positions, seed=0, label_drop=0.1):
    return draws(model_config, TrainConfig(label_drop=label_drop), seed, positions)


SHAPES = [
    config(),
    config(depth=3, heads=1, patch_size=1, latent_size=4, learned=False),
    config(depth=1, head_dim=8, heads=5, patch_size=4, channels=3, classes=1),
    config(patch_size=8, channels=1, classes=20),
]


def alive(model_config, seed=0):
    """A model none of whose weights is zero: a fresh one predicts zero whatever it is given."""
    model = build_dit(model_config, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return model.eval()


def latents(model_config, batch=5, seed=1):
    side = model_config.latent_size
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, model_config.latent_channels, side, side, generator=generator)


def some_labels(model_config, batch=5):
    return torch.arange(batch) % model_config.num_classes


@pytest.mark.parametrize("model_config", SHAPES)
@torch.no_grad()
def test_published_round_trip(model_config):
    model = alive(model_config)
    loaded = load_dit({"ema": model.state_dict(), "model": {}, "opt": {}}, heads=model_config.heads)
    assert not loaded.training and loaded.learned_variance == model_config.learned_variance
    x, t, y = latents(model_config), torch.tensor([0, 3, 500, 998, 999]), some_labels(model_config)
    expected = model(x, t, y)
    assert expected.std() > 0.05
    assert torch.equal(loaded(x, t, y), expected)
    assert expected.shape == (5, model_config.output_channels, *x.shape[2:])


@torch.no_grad()
def test_one_time_for_all_is_a_short_cut_and_no_other_function():
    """Few classes are looked up in a table, many are not, and neither changes a number beyond rounding."""
    for model_config in (config(classes=3), config(classes=40)):
        model = alive(model_config)
        x, y, t = latents(model_config), some_labels(model_config), torch.tensor(417)
        for call in (model, partial(model.guided, scale=2.5), partial(model.guided, scale=1.3, channels=4)):
            short, long = call(x, t.expand(5), y), call(x, torch.full((5,), 417), y)
            torch.testing.assert_close(short, long, rtol=1e-5, atol=2e-6)


@torch.no_grad()
def test_guidance_is_two_passes_on_the_first_channels():
    model_config = config()
    model = alive(model_config)
    x, y, t = latents(model_config), some_labels(model_config), torch.arange(5) * 200
    conditional, unconditional = model(x, t, y), model(x, t, torch.full_like(y, 7))
    assert (conditional - unconditional).abs().max() > 0.01, "the class matters"
    for channels in (1, 3, 4):
        ours = model.guided(x, t, y, scale=3.0, channels=channels)
        blend = unconditional + 3.0 * (conditional - unconditional)
        expected = torch.cat((blend[:, :channels], conditional[:, channels:]), dim=1)
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(model.guided(x, t, y, scale=1), conditional)


@torch.no_grad()
def test_no_label_is_dropped_in_any_mode():
    model_config = config()
    model = alive(model_config)
    arguments = latents(model_config), torch.arange(5), some_labels(model_config)
    assert torch.equal(model.train()(*arguments), model.eval()(*arguments))


@pytest.mark.parametrize("initial_values", ["published", "unit"])
def test_a_fresh_model_predicts_zero_and_is_a_function_of_its_seed(initial_values):
    model_config = config(head_dim=16).model_copy(update={"initial_values": initial_values})
    model = build_dit(model_config, seed=3)
    x, y, t = latents(model_config), some_labels(model_config), torch.tensor([0, 10, 200, 500, 999])
    assert not model(x, t, y).any()
    again, other = build_dit(model_config, seed=3).state_dict(), build_dit(model_config, seed=4).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in model.state_dict().items())
    assert not torch.equal(model.state_dict()["x_embedder.proj.weight"], other["x_embedder.proj.weight"])
    time_std, table_std = model.t_embedder(t).std().item(), model.y_embedder.embedding_table.weight.std().item()
    if initial_values == "unit":
        assert 0.5 < time_std < 2 and 0.8 < table_std < 1.2
    else:
        assert time_std < 0.1 and 0.015 < table_std < 0.025


# State dicts that do not fit


def broken(change):
    state = dict(build_dit(config()).state_dict())
    change(state)
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("pos_embed"), "it has no pos_embed"),
        (lambda s: s.update(pos_embed=torch.zeros(1, 15, 12)), "15 positions, which are no square"),
        (lambda s: s.update({"final_layer.linear.weight": torch.zeros(33, 12)}), "must be 16, or 32 with variances"),
        (lambda s: s.update({"blocks.0.mlp.fc1.bias": torch.zeros(5)}), r"fc1.bias has shape \(5,\), expected \(48,\)"),
        (lambda s: s.update({"blocks.0.ffn.fc1.bias": s.pop("blocks.0.mlp.fc1.bias")}), r"nearest: blocks.0.mlp.fc1"),
        (lambda s: s.update({"rope": torch.zeros(1)}), "rope is unknown"),
        (lambda s: [s.pop(n) for n in list(s) if n.startswith("blocks.0")], "it has no blocks.0"),
        (lambda s: s.update({"x_embedder.proj.weight": torch.zeros(12, 16)}), "where one of 4 dimensions is expected"),
        (lambda s: s.clear(), "it has no pos_embed"),
    ],
)
def test_what_does_not_fit_is_said_in_one_sentence(change, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_dit(broken(change), heads=3)
    assert "\n" not in str(caught.value)


def test_heads():
    state = build_dit(config()).state_dict()
    with pytest.raises(ValueError, match=r"depth 2 and width 12.*give heads="):
        load_dit(state)
    with pytest.raises(ValueError, match="does not divide into 5 heads"):
        load_dit(state, heads=5)


# Diffusion


def test_respacing():
    assert respaced_timesteps("1") == (0,)
    assert respaced_timesteps("2") == (0, 999)
    assert respaced_timesteps("1000") == respaced_timesteps(None) == tuple(range(1000))
    assert respaced_timesteps("2,3") == (0, 499, 500, 750, 999)
    assert respaced_timesteps("ddim1000") == tuple(range(1000))
    assert respaced_timesteps("300,10,15,20")[-1] == 299
    for wrong in ("", "fast", "0", "-3", "1001", "ddim", "ddim7,3", "ddim300", "300,10,15,101", "1.5"):
        with pytest.raises(ValueError, match="respacing"):
            GaussianDiffusion(wrong)


def perfect(diffusion, x_start):
    """A model that knows the clean latents: its output is the truth, with variance values in the middle."""

    def model(x, t, labels):
        place = diffusion.timesteps.index(int(t[0]))
        left = diffusion.alphas_cumprod[place]
        noise = (x - left**0.5 * x_start) / (1 - left) ** 0.5
        return torch.cat((diffusion.truth(x_start, noise, place), torch.zeros_like(x)), dim=1)

    return model


@pytest.mark.parametrize("target", ["noise", "velocity"])
@pytest.mark.parametrize("respacing", ["1", "5", "ddim10", "20,10"])
def test_a_perfect_model_arrives_at_the_clean_latents(target, respacing):
    diffusion = GaussianDiffusion(respacing, target)
    x_start, x_T = latents(config()).double(), latents(config(), seed=2).double()
    labels, generator = torch.zeros(5, dtype=torch.long), torch.Generator().manual_seed(0)
    for method, eta in (("ancestral", 0.0), ("ddim", 0.0), ("ddim", 1.0)):
        ours = diffusion.sample(perfect(diffusion, x_start), x_T, labels, method=method, eta=eta, generator=generator)
        torch.testing.assert_close(ours, x_start, rtol=0, atol=1e-4)


@pytest.mark.parametrize("target", ["noise", "velocity"])
def test_losses_of_a_perfect_model_are_those_of_the_variances_alone(target):
    diffusion = GaussianDiffusion(target=target)
    x_start, noise = latents(config()), latents(config(), seed=2)
    t = torch.tensor([0, 1, 10, 500, 999])

    def model(x, times, labels):
        truth = diffusion.truth(x_start, noise, t)
        return torch.cat((truth, -torch.ones_like(x)), dim=1)  # -1: the posterior's own variance

    losses = diffusion.training_losses(model, x_start, t, noise, torch.zeros(5, dtype=torch.long))
    assert losses["mse"].max() < 1e-10
    assert losses["vb"][1:].abs().max() < 1e-3, "the step is the true one"
    assert losses["vb"][0] > 0.1, "an 8-bit bin of a narrow normal costs bits"
    assert torch.equal(losses["loss"], losses["mse"] + losses["vb"])
    wrong = diffusion.training_losses(lambda *a: model(*a) + 0.5, x_start, t, noise, torch.zeros(5, dtype=torch.long))
    torch.testing.assert_close(wrong["mse"], torch.full((5,), 0.25))
    assert (wrong["vb"] > losses["vb"]).all() and wrong["vb"][1] > 0.1


def test_the_bound_teaches_variances_only():
    model_config = config()
    model = alive(model_config)
    x, noise, t, y = latents(model_config), latents(model_config, seed=2), torch.arange(5) * 200, torch.zeros(5).long()
    diffusion = GaussianDiffusion()
    x_t = diffusion.q_sample(x, t, noise)
    output = model(x_t, t, y).detach().requires_grad_(True)
    diffusion.losses_of(output, x, x_t, t, noise)["vb"].sum().backward()
    assert not output.grad[:, :4].any() and output.grad[:, 4:].any()


@torch.no_grad()
def test_in_painting_keeps_what_is_known():
    model_config = config(learned=False)
    model = alive(model_config)
    known, mask = latents(model_config, seed=9), torch.zeros(1, 1, 8, 8)
    mask[..., :4] = 1
    labels = some_labels(model_config)
    for method in ("ddim", "ancestral"):
        sampler = DiTSampler(steps=6, method=method, clip=True)
        plain = draw(model, labels, sampler, addressed_noise(model, 0, np.arange(5)))
        ours = draw(model, labels, sampler, addressed_noise(model, 0, np.arange(5)), known, mask)
        assert torch.equal(ours[..., :4], known[..., :4])
        assert (ours[..., 4:] - plain[..., 4:]).abs().max() > 1e-3, "the other half knows of it"
    with pytest.raises(ValueError, match="needs both"):
        draw(model, labels, DiTSampler(steps=2), addressed_noise(model, 0, np.arange(5)), known)


@pytest.mark.parametrize("sampler", [DiTSampler(steps=4), DiTSampler(steps=4, method="ancestral", guided_channels=3)])
def test_a_sample_depends_on_its_own_address_alone(sampler):
    model_config = config()
    model = alive(model_config)
    labels = some_labels(model_config)
    together = draw(model, labels, sampler, addressed_noise(model, 5, np.arange(5)))
    for rows in ([3], [4, 1]):
        alone = draw(model, labels[rows], sampler, addressed_noise(model, 5, np.array(rows)))
        torch.testing.assert_close(alone, together[rows], rtol=1e-4, atol=1e-4)
    other = draw(model, labels, sampler, addressed_noise(model, 6, np.arange(5)))
    assert (other - together).abs().max() > 0.1


# Training


def test_draws_are_addressed():
    model_config, positions = config(), np.arange(4_000)
    ours = drawn_at(model_config, positions, seed=1)
    part = drawn_at(model_config, positions[70:75], seed=1)
    assert all(torch.equal(ours[name][70:75], part[name]) for name in ours)
    numbers = ours["noises"]
    assert numbers.shape == (4_000, 4, 8, 8) and numbers.dtype == torch.float32
    assert abs(float(numbers.mean())) < 0.004 and abs(float(numbers.std()) - 1) < 0.004
    assert float((numbers.flatten(1).T @ numbers.flatten(1) / 4_000 - torch.eye(256)).abs().max()) < 0.1
    assert 480 < float(ours["times"].double().mean()) < 520
    assert ours["times"].min() >= 0 and ours["times"].max() <= 999
    assert 0.08 < float(ours["dropped"].double().mean()) < 0.12


def test_a_batch_in_parts_is_one_batch():
    model_config = config()
    model, x, y = alive(model_config), latents(model_config, 6), some_labels(model_config, 6)
    batch = Batch(y, {"latents": x}, drawn_at(model_config, np.arange(6), label_drop=0.5))
    whole = loss(model, model_config, TRAIN, batch)
    parts = [loss(model, model_config, TRAIN, batch.part(rows)) for rows in (slice(0, 2), slice(2, 6))]
    torch.testing.assert_close((2 * parts[0] + 4 * parts[1]) / 6, whole, rtol=1e-5, atol=1e-6)
    kept = {**batch.draws, "dropped": torch.zeros(6, dtype=torch.bool)}
    assert not torch.equal(loss(model, model_config, TRAIN, Batch(y, batch.latents, kept)), whole), "drops matter"


@pytest.mark.parametrize("target", ["noise", "velocity"])
def test_validation_is_stratified_and_comparable(target):
    model_config = config(learned=target == "noise").model_copy(update={"target": target})
    model, x, y = build_dit(model_config), latents(model_config, 600), some_labels(model_config, 600)
    losses = validate(model, Batch(y, {"latents": x}, {}), np.arange(600))
    part = validate(model, Batch(y, {"latents": x}, {}).part(slice(40, 60)), np.arange(40, 60))
    assert all(torch.equal(losses[name][40:60], part[name]) for name in losses)
    assert set(losses) == ({"noise_mse", "target_mse", "vb"} if target == "noise" else {"noise_mse", "target_mse"})
    shares = np.modf((np.arange(600) + 0.5) * (5**0.5 - 1) / 2)[0]
    assert np.histogram(shares, 20, (0, 1))[0].min() >= 27, "30 a bin but for rounding"
    # A fresh model predicts zero, which is off by 1 as noise; as velocity too, and the noise by sqrt(a) times that.
    left = np.mean(GaussianDiffusion().alphas_cumprod)
    expected = 1.0 if target == "noise" else left
    assert float(losses["noise_mse"].mean()) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(("target", "learned"), [("noise", True), ("velocity", False)])
def test_a_few_seconds_of_training_lower_the_loss_and_guided_samples_know_their_class(target, learned):
    """Two classes: latents of +1 and of -1. Trained on them, samples of a class have its sign."""
    model_config = config(
        depth=2, head_dim=16, heads=2, patch_size=2, latent_size=4, channels=1, classes=2, learned=learned
    )
    model_config = model_config.model_copy(update={"target": target})
    model = build_dit(model_config)
    optimizer = torch.optim.AdamW(groups(model), lr=1e-2, betas=(0.9, 0.99), weight_decay=0.0)
    losses = []
    for step in range(150):
        positions = np.arange(step * 32, step * 32 + 32)
        y = torch.from_numpy(positions % 2)
        x = (2.0 * y - 1).view(-1, 1, 1, 1) + 0.1 * noises(model_config, 9, "data", positions)
        value = loss(model, model_config, TRAIN, Batch(y, {"latents": x}, drawn_at(model_config, positions)))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:5])
    labels = torch.arange(20) % 2
    ours = draw(model, labels, DiTSampler(steps=10), addressed_noise(model, 0, np.arange(20)))
    assert (ours.mean((1, 2, 3)).sign() == 2.0 * labels - 1).all()


# Config and recipe


def test_problems_are_sentences():
    assert "must divide by 4" in next(problems(DiTConfig(head_dim=5, heads=3)))
    assert "take one of [1, 2]" in next(problems(DiTConfig(patch_size=4, latent_size=6)))
    assert not list(problems(config()))
    assert "take 1 to 4, or all" in next(DiTSampler(guided_channels=5).problems(config()))
    assert "setting of ddim" in next(DiTSampler(method="ancestral", eta=0.5).problems(config()))
    with pytest.raises(ValueError, match="model.heads is not set"):
        build_dit(DiTConfig())


def test_recipes_fill_what_is_left_open():
    train = TrainConfig(batch_size=64)
    small, paper = DiTConfig(depth=3, head_dim=16, patch_size=1), DiTConfig(depth=12)
    names = [FAMILY.default_recipe(model) for model in (small, paper)]
    assert names == ["small-ladder", "paper"] == list(reversed(FAMILY.recipes))
    rule = FAMILY.recipe("small-ladder", small, train, None)
    assert rule.learning_rate == pytest.approx(0.012)
    filled = small.model_copy(update={**rule.model, "latent_channels": 4, "latent_size": 4, "num_classes": 10})
    assert None not in [value for _, value in filled]
    assert (filled.width, filled.target, filled.tokens_per_image) == (48, "velocity", 16)
    assert FAMILY.params(filled) and not list(FAMILY.problems(filled))
    assert (FAMILY.at_depth(filled, 5).width, FAMILY.at_depth(small, 5).width) == (80, 80)
    rule = FAMILY.recipe("paper", paper, train, None)
    assert rule.ema_half_life_images == pytest.approx(443_600, rel=1e-3)
    assert rule.model["learned_variance"]
    assert PAPER_SAMPLER.published_guidance == 1.5


@pytest.mark.parametrize("sampler", [DiTSampler(steps=3), DiTSampler(steps=3, method="ancestral")])
def test_the_family_draws_a_sample_from_its_own_row_of_noise(sampler):
    model_config = config()
    model, labels = alive(model_config), some_labels(model_config)
    numbers = training.noise(model, sampler, 5, torch.Generator().manual_seed(0))
    whole = training.draw(model, labels, None, sampler, numbers)["latents"]
    part = {name: value[2:4] for name, value in numbers.items()}
    torch.testing.assert_close(
        training.draw(model, labels[2:4], None, sampler, part)["latents"], whole[2:4], rtol=1e-4, atol=1e-4
    )
    assert FAMILY.sample_flops(model_config, sampler) > 0 and FAMILY.sample_bytes(model_config, sampler) > 0
