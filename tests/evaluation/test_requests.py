"""What several studies ask of one trial: each is measured, whatever another lacks."""

from types import SimpleNamespace

import pytest
import torch

from var_scaling.config.data import DataConfig, resolve_data
from var_scaling.config.evaluate import EvaluateConfig, FidConfig, fid_evaluations
from var_scaling.errors import EnvironmentProblem
from var_scaling.families.var.config import VARConfig
from var_scaling.planning.identity import evaluation_name
from var_scaling.planning.resolve import fid_of, resolve
from var_scaling.planning.trial import TrialConfig
from var_scaling.runs import store
from var_scaling.work import asked as wanted_of
from var_scaling.work import evaluation as work


def test_missing_weights_of_one_evaluation_keep_no_other(tmp_path, monkeypatch, attempt):
    from safetensors.torch import save_file

    model = resolve(TrialConfig(model=VARConfig(head_dim=16, depth=2))).model
    fids = (FidConfig(features="inception", samples=10_240), FidConfig(), FidConfig(seed=1))
    asked = fid_evaluations(EvaluateConfig(fid=tuple(fid_of(model, each) for each in fids)), resolve_data(DataConfig()))
    requests = [
        {
            "name": evaluation_name(each),
            "config": each.model_dump(mode="json"),
            "network": None,
            "reconstruction": "store/reconstruction/none",
        }
        for each in asked
    ]
    budget = tmp_path / "trial" / "budgets" / "64"
    (budget / "evaluations").mkdir(parents=True)
    module = torch.nn.Linear(2, 2)
    save_file(module.state_dict(), budget / "weights.safetensors")
    monkeypatch.setattr(work, "load_module", lambda config, weights, device: module)

    def measure(model, evaluation, images, **how):
        if evaluation.fid.features == "inception":
            raise EnvironmentProblem("no weights here")
        return {"seed": evaluation.fid.seed}

    monkeypatch.setattr(work, "evaluate_model", measure)
    context = SimpleNamespace(
        runs=tmp_path,
        folder=tmp_path / "trial",
        attempt=attempt(),
        device=torch.device("cpu"),
        needs={},
        images=lambda data: None,
        placement=SimpleNamespace(feature_weights=None, image_folder=None),
    )
    wanted = wanted_of.Asked([{"budgets": [64], "evaluations": requests, "samples_grid": "off"}])
    with pytest.raises(EnvironmentProblem, match="no weights here"):
        work.evaluate(context, SimpleNamespace(model=model), wanted, None)
    found = [store.read_json(budget / "evaluations" / each["name"]) for each in requests[1:]]
    assert [each["seed"] for each in found] == [0, 1]
    assert not (budget / "evaluations" / requests[0]["name"]).exists()
