"""The comparison's sweep files: they plan, share the demo's trials, and hold to the rules that their heads state."""

from collections import defaultdict

import pytest

from tests.conftest import ROOT
from var_scaling.planning import identity
from var_scaling.planning.flops import train_flops_per_image
from var_scaling.planning.plan import make_plan
from var_scaling.planning.study import load_study


def identity_of(trial):
    return identity.digest(identity.of_trial(trial.config))


def planned(file, tmp_path):
    study, configs = load_study(file)
    return study, make_plan(study, configs, tmp_path, None)


def test_the_comparison_takes_over_the_demos_trials_and_evaluations(tmp_path):
    _, demo = planned(ROOT / "sweeps/depth.yaml", tmp_path)
    study, compare = planned(ROOT / "sweeps/compare.yaml", tmp_path)
    ours = {identity_of(trial) for trial in compare.trials if trial.variant == "var" and trial.config.seed == 0}
    assert ours and ours <= set(map(identity_of, demo.trials))
    assert study.evaluate_of("var") == load_study(ROOT / "sweeps/depth.yaml")[0].evaluate
    assert set(load_study(ROOT / "sweeps/depth.yaml")[0].budgets.images) < set(study.budgets_of("var").images)


def test_largest_budgets_cost_about_the_same_compute(tmp_path):
    study, plan = planned(ROOT / "sweeps/compare.yaml", tmp_path)
    flops = defaultdict(dict)
    for trial in plan.trials:
        images = max(study.budgets_of(trial.variant).images)
        flops[trial.variant][trial.config.model.depth] = images * train_flops_per_image(trial.config.model)
    for depth, var in flops["var"].items():
        assert flops["dit-noise"][depth] == pytest.approx(var, rel=0.5)


def test_the_papers_comparison_gives_all_the_same_compute(tmp_path):
    study, plan = planned(ROOT / "sweeps/paper/compare_imagenet256.yaml", tmp_path)
    assert {trial.variant for trial in plan.trials} == set(study.variants)
    for variant in study.variants:
        assert study.budgets_of(variant).train_flops == study.budgets.train_flops
        assert {fid.features for fid in study.evaluate_of(variant).fids} == {"inception"}
    seeds = defaultdict(set)
    for trial in plan.trials:
        seeds[identity.cell(identity.of_trial(trial.config))].add(trial.config.seed)
    assert all(len(found) == 2 for found in seeds.values())
