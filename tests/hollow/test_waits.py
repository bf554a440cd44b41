# ruff: noqa: E501 - the lines are quoted whole
"""What waits for the GPU: a list, so that a new wait is a decision and not an accident."""

from __future__ import annotations

import json

import pytest

from tests.hollow.library import python

# By file: text of the line, and how often in the scene at most (twenty steps with three journal lines; a validation of
# one forward pass; one batch of samples; two steps of the tokenizer).
ONCE_A_PART = {
    "evaluation/validation.py: _filled(labels[rows]).to(device),": 1,
    "evaluation/validation.py: {name: _filled(value[rows]).to(device) for name, value in latents.items()},": 2,
    "evaluation/validation.py: whole[start + begin : start + begin + count] = value[:count].double().cpu().numpy()": 3,
    "evaluation/generation.py: noise = {name: values[: len(labels_B)].to(model.device) for name, values in drawn.items()}": 1,
    "evaluation/generation.py: labels = torch.from_numpy(labels_B).to(model.device)": 1,
    "evaluation/generation.py: return to_bytes(model.draw(labels[part], sampler, {k: v[part] for k, v in noise.items()})).cpu()": 1,
    "families/transformer/training.py: name: torch.stack([s.sum(1) for s in values_BL.double().cpu().split(list(sizes), 1)], 1)": 2,
    "families/dit/training.py: t_B = torch.from_numpy((shares * TIMESTEPS).astype(np.int64)).to(device)": 1,
    'families/dit/training.py: noises_BCHW = noises(module, VALIDATION_SEED, "diffusion-validation", positions).to(device)': 1,
    "families/dit/diffusion.py: values = torch.as_tensor(getattr(self, name), device=device)": 1,
}
A_JOURNAL_LINE = ("training/leg.py: stacked = torch.stack([*self.losses, self.norm]).double().cpu()",)
A_TOKENIZER_STEP = {  # addressed noise, drawn on the CPU
    "tokenizers/kl/training.py: noise_BZhw = torch.from_numpy(noise).view(posterior.mean.shape).to(features_BZhw.device)": 2
}


@pytest.mark.parametrize("family", ["var", "dit"])
def test_nothing_waits_but_what_is_known_to(family: str) -> None:
    done = python("-m", "tests.hollow.waits", family)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])[family]
    assert found["loop"] == dict.fromkeys(A_JOURNAL_LINE, 3), "once a line of the journal, whatever the steps between"
    for part in ("validation", "sampling"):
        assert found[part], "the premise: results are read back"
        assert all(times <= ONCE_A_PART.get(line, 0) for line, times in found[part].items()), found[part]
    assert all(times <= A_TOKENIZER_STEP.get(line, 0) for line, times in found["tokenizer"].items()), found["tokenizer"]
