"""Codes that follow data: the start, the averages, the second life, and what usage and perplexity say."""

import math

import pytest
import torch

from var_scaling.tokenizers.vq.codebook import Codebook, Hits
from var_scaling.tokenizers.vq.config import CodebookConfig
from var_scaling.tokenizers.vq.quantizer import MultiScaleQuantizer, Quantised

SIDES, VOCAB, LATENT = (1, 2, 3), 11, 5


def make(update="ema", seed=0, vocab=VOCAB, **changes):
    torch.manual_seed(0)
    quantiser = MultiScaleQuantizer(SIDES, vocab, LATENT)
    rules = dict(update=update, ema_decay=0.75, restart_below=0.0) | changes
    return Codebook(quantiser, CodebookConfig(**rules), seed)


def quantised(tokens, residuals):
    """One scale's worth of hand-made choices."""
    return Quantised(torch.zeros(()), torch.zeros(()), [torch.tensor([tokens])], [torch.tensor([residuals])])


def vectors(count, seed=1):
    return torch.randn(count, LATENT, generator=torch.Generator().manual_seed(seed)).tolist()


def test_averages_by_hand():
    book = make()
    old = book.quantiser.embedding.weight.clone()
    a, b, c, d = vectors(4)
    book.update(quantised([2, 2, 7], [a, b, c]), images=3, batch=3)
    codes = book.quantiser.embedding.weight
    torch.testing.assert_close(codes[2], (torch.tensor(a) + torch.tensor(b)) / 2)
    torch.testing.assert_close(codes[7], torch.tensor(c))
    torch.testing.assert_close(codes[0], old[0], rtol=1e-4, atol=1e-5)  # unused at the first batch: stays
    book.update(quantised([2, 7, 7], [d, c, c]), images=6, batch=3)
    expected = (0.75 * (torch.tensor(a) + torch.tensor(b)) + 0.25 * torch.tensor(d)) / (0.75 * 2 + 0.25 * 1)
    torch.testing.assert_close(codes[2], expected)


def test_a_gradient_codebook_is_not_averaged():
    book = make("gradient")
    assert book.quantiser.embedding.weight.requires_grad
    assert not make("ema").quantiser.embedding.weight.requires_grad
    before = book.quantiser.embedding.weight.detach().clone()
    book.update(quantised([2, 2, 7], vectors(3)), images=3, batch=3)
    assert torch.equal(book.quantiser.embedding.weight, before)


@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_dead_codes_restart_at_vectors_of_the_batch(update):
    book = make(update, restart_below=0.2, restart_every=30)
    batch = vectors(40)
    tokens = [i % 2 for i in range(40)]  # only codes 0 and 1 live
    for images in range(10, 30, 10):
        book.update(quantised(tokens, batch), images=images, batch=10)
    before = book.quantiser.embedding.weight.detach().clone()
    book.update(quantised(tokens, batch), images=30, batch=10)
    after = book.quantiser.embedding.weight.detach()
    rows = {tuple(round(x, 5) for x in row) for row in batch}
    moved = [i for i in range(VOCAB) if not torch.allclose(before[i], after[i], atol=1e-4)]
    assert set(range(2, VOCAB)) <= set(moved)
    assert all(tuple(round(x, 5) for x in after[i].tolist()) in rows for i in range(2, VOCAB))
    assert len({tuple(after[i].tolist()) for i in range(2, VOCAB)}) == VOCAB - 2, "each its own vector"


def test_restart_is_off_at_zero_and_addressed_otherwise():
    tokens, batch = [0] * 40, vectors(40)

    def restarted(seed, **rules):
        book = make(seed=seed, restart_every=10, **rules)
        book.update(quantised(tokens, batch), images=10, batch=10)
        return book.quantiser.embedding.weight.detach().clone()

    torch.testing.assert_close(
        restarted(0),
        make().quantiser.embedding.weight.where(torch.arange(VOCAB)[:, None] > 0, torch.tensor(batch).mean(0)).detach(),
        rtol=1e-4,
        atol=1e-5,
    )
    assert torch.equal(restarted(0, restart_below=0.5), restarted(0, restart_below=0.5))
    assert not torch.equal(restarted(0, restart_below=0.5), restarted(1, restart_below=0.5))


@pytest.mark.parametrize(("batch", "vocab"), [(16, 11), (2, 101)])
def test_start_at_data(batch, vocab):
    book = make(vocab=vocab)
    features = 3 + torch.randn(batch, LATENT, 3, 3, generator=torch.Generator().manual_seed(2))
    error_before = float((book.quantiser(features).picture_BZHW - features).detach().square().mean())
    book.start_at_data(features)
    codes = book.quantiser.embedding.weight
    first = vocab // 3 if batch > vocab // 3 else batch
    means = features.mean((2, 3))
    assert all((codes[i] - means).abs().amax(1).min() < 1e-5 for i in range(first)), "scale 1 gives means of maps"
    assert torch.isfinite(codes).all()
    error = float((book.quantiser(features).picture_BZHW - features).detach().square().mean())
    assert error < error_before


def test_usage_and_perplexity_by_hand():
    hits = Hits(2, 8, torch.device("cpu"))
    hits.add([torch.tensor([[0], [1]]), torch.tensor([[1, 2], [3, 4]])])
    hits.add([torch.tensor([[0], [0]]), torch.tensor([[1, 2], [3, 4]])])
    assert hits.usage() == 5 / 8
    assert hits.usage_per_scale() == [2 / 8, 4 / 8]
    expected = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert hits.perplexity_per_scale() == pytest.approx([expected, 4.0])


def test_state_round_trip():
    book, other = make(), make()
    book.update(quantised([2, 2, 7], vectors(3)), images=3, batch=3)
    other.load_state_dict(book.state_dict())
    other.quantiser.load_state_dict(book.quantiser.state_dict())
    for each in (book, other):
        each.update(quantised([1, 2, 7], vectors(3, seed=5)), images=6, batch=3)
    assert torch.equal(book.quantiser.embedding.weight, other.quantiser.embedding.weight)
