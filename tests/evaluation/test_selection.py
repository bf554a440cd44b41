"""Candidates and a judge: what is kept, that it does not depend on batches, and who may judge."""

import itertools

import numpy as np
import pytest

from var_scaling.config.data import DataConfig, resolve_data
from var_scaling.config.evaluate import JUDGE, ClassifierConfig, EvaluateConfig, FidConfig, fid_evaluations
from var_scaling.evaluation.fid import evaluate_model
from var_scaling.evaluation.selection import Selection
from var_scaling.families.var.config import VARConfig
from var_scaling.planning import identity
from var_scaling.planning.resolve import fid_of, resolve
from var_scaling.planning.trial import TrialConfig
from var_scaling.planning.works import works_of
from var_scaling.runs import store

LABELS = np.array([0, 1, 2, 0, 1, 2, 0])
SCORES = np.random.default_rng(5).normal(size=4 * len(LABELS)).astype(np.float32)


def kept(choice, batch=5, scores=SCORES):
    selection = Selection(LABELS, choice)
    for begin in range(0, len(scores), batch):
        numbers = np.arange(begin, min(begin + batch, len(scores)))
        features = np.stack([numbers, LABELS[numbers % len(LABELS)]], 1).astype(np.float32)
        selection.add(numbers, {"scores": scores[numbers], "features": features, "logits": -features})
    features = selection.result()["features"]
    assert (selection.result()["logits"] == -features).all()
    assert (features[:, 1] == LABELS).all(), "every slot has a sample of its class"
    return features[:, 0].astype(int)


def test_each_sample_is_the_best_of_its_own_candidates():
    best = SCORES.reshape(4, len(LABELS)).argmax(0) * len(LABELS) + np.arange(len(LABELS))
    assert kept("each").tolist() == best.tolist()


def test_a_pool_keeps_the_best_of_a_class():
    for label in set(LABELS.tolist()):
        own = np.flatnonzero(np.tile(LABELS, 4) == label)
        best = own[np.argsort(-SCORES[own])[: (LABELS == label).sum()]]
        assert kept("pool")[label == LABELS].tolist() == sorted(best)


@pytest.mark.parametrize("choice", ["each", "pool"])
def test_batches_make_no_difference(choice):
    assert kept(choice, batch=1).tolist() == kept(choice, batch=28).tolist()


def test_of_equals_the_first_stays():
    assert kept("each", scores=np.zeros(28, np.float32)).tolist() == list(range(7))


def test_nothing_but_samples_and_a_batch_is_held():
    selection = Selection(LABELS, "pool")
    for begin in (0, 7):
        selection.add(np.arange(begin, begin + 7), {"scores": SCORES[begin : begin + 7]})
    assert len(selection.kept["numbers"]) == 7


def asked(candidates, **more):
    """An evaluation whose metric is the quick network of the fixtures; the same network may judge in a test only."""
    config = EvaluateConfig(
        fid=fid_of(VARConfig(), FidConfig(samples=400, candidates=candidates, **more)),
        classifier=ClassifierConfig(features=16, channels=(8, 16, 32), epochs=1),
    )
    return fid_evaluations(config, resolve_data(DataConfig(unique_images=130)))[0]


def test_candidates_are_drawn_judged_and_counted_and_an_interruption_changes_nothing(
    model, images, classifier_folder, attempt, tmp_path, monkeypatch
):
    evaluation = asked(2)
    evaluation = evaluation.model_copy(update={"judge": evaluation.extractor})
    how = {"extractor_folder": classifier_folder, "judge_folder": classifier_folder, "cache": tmp_path}
    straight = evaluate_model(model, evaluation, images, **how)
    assert sum(len(call[0]) for call in model.calls) == 800
    alone = evaluate_model(model, asked(1), images, **how)
    assert straight["sample_flops"] == 2 * alone["sample_flops"]
    assert straight["inception_score"] > alone["inception_score"], "what a judge keeps looks more like its class"
    assert (straight["candidates"], straight["choice"]) == (2, "each")
    running, calls = attempt(), itertools.count(1)
    monkeypatch.setattr(running, "stop_requested", lambda: next(calls) == 6)
    with pytest.raises(store.Stopped):
        evaluate_model(model, evaluation, images, attempt=running, **how)
    again = evaluate_model(model, evaluation, images, attempt=attempt(), **how)
    assert again["fid_corrected"] == straight["fid_corrected"]


def test_one_candidate_renames_no_evaluation_and_several_are_named_and_bring_a_judge():
    config = resolve(TrialConfig(model=VARConfig(head_dim=16, depth=2)))
    plain = works_of(config, EvaluateConfig(fid=FidConfig()))
    several = works_of(config, EvaluateConfig(fid=FidConfig(candidates=4, choice="pool")))
    hashed = identity.canonical(plain.evaluations[0].config)
    assert "judge" not in hashed and "candidates" not in hashed["fid"]
    assert "-re4-" in several.evaluations[0].label
    assert several.evaluations[0].config.judge == JUDGE
    assert [stage.kind for stage in several.stages].count("classifier") == 2
    assert several.evaluations[0].reconstruction == plain.evaluations[0].reconstruction


@pytest.mark.parametrize(
    ("fid", "more", "words"),
    [
        ({"candidates": 4}, {"judge": ClassifierConfig()}, "grade its own choice"),
        ({"choice": "pool"}, {}, "nothing to choose from"),
    ],
)
def test_a_judge_is_another_network_and_has_a_choice(fid, more, words):
    config = EvaluateConfig(fid=FidConfig(**fid), **more)
    with pytest.raises(ValueError, match=words):
        fid_evaluations(config, resolve_data(DataConfig()))
