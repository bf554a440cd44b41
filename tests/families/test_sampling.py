"""Filtering as the published sampler does it, by hand-checkable numbers; and the draw."""

import math

import pytest
import torch

from var_scaling.families.transformer.sampling import draw, filter_logits

PROBABILITIES = [0.5, 0.05, 0.25, 0.2]


def kept(top_k=0, top_p=0.0, probabilities=PROBABILITIES):
    logits = torch.tensor([probabilities]).log()
    return torch.isfinite(filter_logits(logits, top_k, top_p))[0].tolist()


@pytest.mark.parametrize(
    ("top_k", "top_p", "expected"),
    [
        (0, 0.0, [True, True, True, True]),
        (4, 0.0, [True, True, True, True]),
        (900, 1.0, [True, True, True, True]),
        (1, 0.0, [True, False, False, False]),
        (3, 0.0, [True, False, True, True]),
        (0, 0.96, [True, True, True, True]),  # 0.05 > 0.04 stays
        (0, 0.9, [True, False, True, True]),  # 0.05 <= 0.1 goes, 0.25 stays
        (0, 0.7, [True, False, True, False]),  # 0.05 + 0.2 <= 0.3
        (0, 1e-6, [True, False, False, False]),  # the likeliest always stays
        (2, 0.6, [True, False, False, False]),  # of the two left, a third and two thirds
    ],
)
def test_filters(top_k, top_p, expected):
    assert kept(top_k, top_p) == expected


def test_ties_at_the_kth_logit_all_stay():
    assert kept(top_k=2, probabilities=[0.4, 0.2, 0.2, 0.2]) == [True, True, True, True]


def test_filter_keeps_batch_and_positions_apart():
    logits_BlV = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    together = filter_logits(logits_BlV, 4, 0.8)
    assert torch.isinf(together).any()
    for b in range(2):
        for position in range(3):
            alone = filter_logits(logits_BlV[b, position], 4, 0.8)
            assert torch.equal(together[b, position], alone)


def test_draw_inverts_the_cumulative_distribution():
    logits = torch.tensor(PROBABILITIES).log().expand(6, 4)
    uniform = torch.tensor([0.0, 0.49, 0.51, 0.54, 0.56, 0.99])
    assert draw(logits, uniform).tolist() == [0, 0, 1, 1, 2, 3]


def test_draw_never_takes_what_was_dropped():
    logits = torch.tensor([[-math.inf, 0.0, -math.inf, -math.inf]])
    for u in (0.0, 0.5, 1 - 2**-24):
        assert draw(logits, torch.tensor([u])).tolist() == [1]


def test_draw_has_the_right_frequencies():
    count = 40_000
    logits = filter_logits(torch.tensor(PROBABILITIES).log(), top_k=3).expand(count, 4)
    tokens = draw(logits, torch.rand(count, generator=torch.Generator().manual_seed(0)))
    shares = torch.bincount(tokens, minlength=4) / count
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.0, 0.25, 0.2]) / 0.95, rtol=0, atol=0.01)
