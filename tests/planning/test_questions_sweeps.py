"""Sweeps beside the comparison: they plan, ask what their heads say, and train anew nothing that the comparison has."""

import pytest

from tests.conftest import ROOT
from var_scaling.config.evaluate import JUDGE
from var_scaling.planning import identity
from var_scaling.planning.plan import make_plan
from var_scaling.planning.resolve import sampler_of
from var_scaling.planning.study import load_study


def planned(name, tmp_path):
    study, configs = load_study(ROOT / f"sweeps/{name}.yaml")
    return study, make_plan(study, configs, tmp_path, None)


def budgets(plan):
    return {identity.digest(identity.of_trial(t.config)): {b[0] for b in t.budgets} for t in plan.trials}


@pytest.mark.parametrize("name", ["inference", "guidance"])
def test_what_is_only_sampled_stands_on_the_comparisons_models(name, tmp_path):
    have = budgets(planned("compare", tmp_path)[1])
    for trial, asked in budgets(planned(name, tmp_path)[1]).items():
        assert asked <= have[trial]


def test_inference_asks_for_more_of_the_same_samplers_and_another_network_judges(tmp_path):
    study, plan = planned("inference", tmp_path)
    asked = {v: [fid.candidates for fid in study.evaluate_of(v).fids] for v in study.variants}
    assert {1, 4, 32} <= set(asked["var"]) and 1 in asked["raster"] and 4 in asked["dit-velocity"]
    compare = load_study(ROOT / "sweeps/compare.yaml")[0]
    for trial in plan.trials:
        names = {e.name for e in trial.works.evaluations if e.config.fid.candidates == 1}
        other = planned_evaluations(compare, trial, tmp_path)
        assert names & other, "M = 1 is the comparison's own evaluation"
        judges = {e.config.judge for e in trial.works.evaluations if e.config.fid.candidates > 1}
        assert judges == {JUDGE}
        assert all(e.config.extractor != JUDGE for e in trial.works.evaluations)


def planned_evaluations(study, trial, tmp_path):
    from var_scaling.planning.works import works_of

    return {e.name for e in works_of(trial.config, study.evaluate_of(trial.variant)).evaluations}


def test_guidance_is_chosen_and_reported_on_nothing_shared(tmp_path):
    study, plan = planned("guidance", tmp_path)
    for trial in plan.trials:
        fids = study.evaluate_of(trial.variant).fids
        strengths = {
            split: [sampler_of(trial.config.model, fid).guidance for fid in fids if fid.reference == split]
            for split in ("validation", "train")
        }
        assert strengths["validation"] == strengths["train"] and len(set(strengths["train"])) > 3
        seeds = {split: {fid.seed for fid in fids if fid.reference == split} for split in strengths}
        assert not seeds["validation"] & seeds["train"]


def test_reuse_crosses_unique_images_with_budgets_up_to_many_epochs(tmp_path):
    study, plan = planned("reuse", tmp_path)
    assert {t.variant for t in plan.trials} == set(study.variants)
    uniques = {t.config.data.unique_images for t in plan.trials}
    assert len(uniques) == 4 and len({t.config.model.depth for t in plan.trials}) == 3
    assert max(study.budgets.images) / min(uniques) > 32
    assert len({t.config.seed for t in plan.trials}) == 2


@pytest.mark.parametrize("name", ["ablation", "paper/ablation_imagenet256"])
def test_each_rung_of_the_ablation_changes_what_it_says_and_no_more(name, tmp_path):
    study, plan = planned(name, tmp_path)
    rungs = {t.variant: t.config.model for t in plan.trials if t.config.seed == 0}
    assert list(rungs) == list(study.variants) and len(rungs) == 5
    leaves = [dict(identity.flatten(identity.canonical(model))) for model in rungs.values()]
    changed = [
        {key for key in a.keys() | b.keys() if a.get(key) != b.get(key)}
        for a, b in zip(leaves, leaves[1:], strict=False)
    ]
    assert "family" in changed[0] and not changed[0] & {"adaln", "attention", "depth", "head_dim"}
    assert changed[1] == {"adaln"}
    assert changed[2] == {"attention"}
    assert "depth" in changed[3] and not changed[3] & {"adaln", "attention", "family"}
    tokenizers = {identity.digest(identity.canonical(t.config.tokenizer)) for t in plan.trials}
    assert len(tokenizers) == 1
