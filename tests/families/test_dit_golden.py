"""The published vectors of DiT and its diffusion, to the tolerance that their file states, through the public names."""

from functools import partial

import numpy as np
import pytest
import torch

from tests.conftest import SHARED
from var_scaling.families.dit.diffusion import GaussianDiffusion
from var_scaling.families.dit.model import time_frequencies
from var_scaling.families.dit.published import load_dit
from var_scaling.families.transformer.layers import modulated_norm, tanh_gelu

GOLDEN = SHARED / "golden" / "dit_tiny.npz"
pytestmark = pytest.mark.skipif(not GOLDEN.exists(), reason="no ../shared/golden/dit_tiny.npz beside the repository")
TOLERANCE = 4e-5  # of max(1, rms of the array)
WIDER = {"out/pmv_clip_pred_xstart": 1e-3, "out/p_sample_clip_final": 2e-4, "mid/ln": 2e-6, "mid/gelu": 2e-6}


class Golden(dict):
    def __getitem__(self, name):
        return torch.from_numpy(super().__getitem__(name))

    def check(self, ours, name, tolerance=None):
        theirs = self[name]
        assert ours.shape == theirs.shape
        assert theirs.abs().max() > 1e-6, "the vector is not trivially zero"
        rms = float(theirs.square().mean().sqrt())
        allowed = tolerance * rms if tolerance else WIDER.get(name, TOLERANCE) * max(1.0, rms)
        worst = float((ours.detach() - theirs).abs().max())
        assert worst <= allowed, f"{name}: {worst:.2e} > {allowed:.2e}"

    def weights(self):
        return {name[4:]: self[name] for name in self if name.startswith("dit/")}


@pytest.fixture(scope="module")
def golden():
    return Golden(np.load(GOLDEN))


@pytest.fixture(scope="module")
def dit(golden):
    return load_dit(golden.weights(), heads=int(golden["config/num_heads"]))


def test_sizes_are_read_from_the_shapes(golden, dit):
    names = dict(depth="depth", width="hidden_size", heads="num_heads", patch_size="patch_size")
    names |= dict(latent_size="input_size", channels="in_channels", num_classes="num_classes")
    assert {n: getattr(dit, n) for n in names} == {n: int(golden[f"config/{theirs}"]) for n, theirs in names.items()}
    assert dit.learned_variance and dit.target == "noise"


@torch.no_grad()
def test_stages_of_the_forward_pass(golden, dit):
    seen = {}
    watched = {
        "mid/patch_embed": dit.x_embedder,
        "mid/t_emb": dit.t_embedder,
        "mid/y_emb": dit.y_embedder,
        "mid/block0_attn": dit.blocks[0].attn,
        "mid/block0": dit.blocks[0],
        "mid/final_tokens": dit.final_layer,
    }
    hooks = [m.register_forward_hook(lambda _, __, out, n=n: seen.update({n: out})) for n, m in watched.items()]
    golden.check(dit(golden["in/x"], golden["in/t"], golden["in/y"]), "out/forward")
    for hook in hooks:
        hook.remove()
    for name in watched:
        golden.check(seen[name], name)
    golden.check(time_frequencies(golden["in/t"]), "mid/t_freq")
    dropped = golden["in/y"].masked_fill(golden["in/force_drop"].bool(), dit.num_classes)
    golden.check(dit.y_embedder(dropped), "mid/y_emb_dropped")
    x, zero = golden["in/ln_x"], torch.zeros(2, 1, 48)
    golden.check(modulated_norm(x, zero, zero), "mid/ln")
    golden.check(tanh_gelu(golden["in/gelu_x"]), "mid/gelu")


@torch.no_grad()
def test_positions_are_the_published_ones(golden, dit):
    fresh = type(dit)(depth=1, width=48, heads=3, patch_size=2, latent_size=8, channels=4, num_classes=7)
    golden.check(fresh.pos_embed, "dit/pos_embed")


@torch.no_grad()
def test_guidance_of_three_channels(golden, dit):
    x, t, y = golden["in/x_cfg"][:4], golden["in/t_cfg"][:4], golden["in/y_cfg"][:4]
    ours = dit.guided(x, t, y, float(golden["in/cfg_scale"]))
    theirs = golden["out/forward_with_cfg"][:4]
    assert (ours - theirs).abs().max() <= TOLERANCE * max(1.0, float(theirs.square().mean().sqrt()))


def test_losses_and_gradients(golden, dit):
    diffusion = GaussianDiffusion()
    x_start, noise, t, y = golden["in/x_start"], golden["in/noise"], golden["in/t_train"], golden["in/y"]
    golden.check(diffusion.q_sample(x_start, t, noise), "out/q_sample")
    losses = diffusion.training_losses(dit, x_start, t, noise, y)
    for name in ("loss", "mse", "vb"):
        golden.check(losses[name], f"out/{name}")
    dit.zero_grad()
    losses["loss"].mean().backward()
    parameters = dict(dit.named_parameters())
    assert {f"grad/{name}" for name in parameters} == {name for name in golden if name.startswith("grad/")}
    for name, parameter in parameters.items():
        golden.check(parameter.grad, f"grad/{name}", tolerance=1e-3)
    dit.zero_grad()


@torch.no_grad()
def test_one_step_back(golden, dit):
    diffusion = GaussianDiffusion()
    x, t, y = golden["out/q_sample"], golden["in/t_train"], golden["in/y"]
    output = dit(x, t, y)
    ours, clipped = diffusion.predict(output, x, t), diffusion.predict(output, x, t, clip=True)
    golden.check(ours.mean, "out/pmv_mean")
    golden.check(ours.variance, "out/pmv_variance")
    golden.check(ours.log_variance, "out/pmv_log_variance")
    golden.check(ours.x_start, "out/pmv_pred_xstart")
    golden.check(clipped.mean, "out/pmv_clip_mean")
    golden.check(clipped.x_start, "out/pmv_clip_pred_xstart")
    golden.check(diffusion.posterior_mean(golden["in/x_start"], x, t), "out/q_posterior_mean")
    log_variance = torch.from_numpy(diffusion.posterior_log_variance).float()[t].view(-1, 1, 1, 1).expand_as(x)
    golden.check(log_variance.contiguous(), "out/q_posterior_log_variance_clipped")


def test_samples(golden, dit):
    x_T, y, noise = golden["in/x_T"], golden["in/y"], golden["in/sample_noise"]
    evenly, strided = GaussianDiffusion("8"), GaussianDiffusion("ddim8")
    golden.check(torch.stack(list(evenly.trajectory(dit, x_T, y, noise=noise))), "out/p_sample_traj")
    golden.check(evenly.sample(dit, x_T, y, noise=noise), "out/p_sample_final")
    golden.check(evenly.sample(dit, x_T, y, noise=noise, clip=True), "out/p_sample_clip_final")
    golden.check(torch.stack(list(strided.trajectory(dit, x_T, y, method="ddim"))), "out/ddim_traj")
    golden.check(strided.sample(dit, x_T, y, method="ddim"), "out/ddim_final")
    golden.check(evenly.sample(dit, x_T, y, method="ddim"), "out/ddim_final_respace8")
    golden.check(strided.sample(dit, x_T, y, method="ddim", eta=1.0, noise=noise), "out/ddim_eta1_final")


def test_guided_samples(golden, dit):
    guided = partial(dit.guided, scale=float(golden["in/cfg_scale"]))
    noise = golden["in/sample_noise_cfg"][:, :4]
    ours = GaussianDiffusion("8").sample(guided, golden["in/x_T"], golden["in/y_cfg"][:4], noise=noise)
    theirs = golden["out/p_sample_cfg_final"][:4]
    assert (ours - theirs).abs().max() <= TOLERANCE * float(theirs.square().mean().sqrt())


def test_schedule(golden):
    full = GaussianDiffusion()
    places = golden["diff/sample_idx"].numpy()
    golden.check(torch.from_numpy(full.betas[:3]).float(), "diff/betas_first3")
    golden.check(torch.from_numpy(full.betas[-3:]).float(), "diff/betas_last3")
    arrays = dict(alphas_cumprod="alphas_cumprod", posterior_variance="posterior_variance")
    arrays |= dict(posterior_log_variance_clipped="posterior_log_variance")
    arrays |= dict(posterior_mean_coef1="posterior_of_start", posterior_mean_coef2="posterior_of_noisy")
    for theirs, ours in arrays.items():
        np.testing.assert_allclose(getattr(full, ours)[places], golden[f"diff/{theirs}"].numpy(), rtol=1e-6)
    for respacing in ("8", "ddim8", "250", "300,10,15,20"):
        name = f"diff/timesteps_{respacing.replace(',', '_')}"
        assert GaussianDiffusion(respacing).timesteps == tuple(golden[name].tolist())
    for respacing in ("8", "ddim8"):
        np.testing.assert_allclose(GaussianDiffusion(respacing).betas, golden[f"diff/betas_{respacing}"], rtol=1e-6)
