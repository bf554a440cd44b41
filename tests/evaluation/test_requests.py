"""What several studies ask of one trial: each is measured, whatever another lacks."""

from types import SimpleNamespace

import pytest
import torch

from var_scaling import stages
from var_scaling.config.data import DataConfig, resolve_data
from var_scaling.config.evaluate import EvaluateConfig, FidConfig, fid_evaluations
from var_scaling.errors import EnvironmentProblem
from var_scaling.evaluation import fid
from var_scaling.families.var import model as var_model
from var_scaling.families.var.config import VARConfig
from var_scaling.planning.identity import evaluation_name
from var_scaling.planning.resolve import resolve
from var_scaling.planning.trial import TrialConfig
from var_scaling.runs import store


def test_missing_weights_of_one_evaluation_keep_no_other(tmp_path, monkeypatch, attempt):
    from safetensors.torch import save_file

    asked = fid_evaluations(
        EvaluateConfig(fid=(FidConfig(features="inception", samples=10_240), FidConfig(), FidConfig(seed=1))),
        resolve_data(DataConfig()),
    )
    requests = [
        {
            "name": evaluation_name(each),
            "config": each.model_dump(mode="json"),
            "classifier": None,
            "reconstruction": "store/reconstruction/none",
        }
        for each in asked
    ]
    budget = tmp_path / "trial" / "budgets" / "64"
    (budget / "evaluations").mkdir(parents=True)
    module = torch.nn.Linear(2, 2)
    save_file(module.state_dict(), budget / "weights.safetensors")
    monkeypatch.setattr(var_model, "build_var", lambda config: module)

    def measure(var, tokenizer, evaluation, images, **how):
        if evaluation.fid.features == "inception":
            raise EnvironmentProblem("no weights here")
        return {"seed": evaluation.fid.seed}

    monkeypatch.setattr(fid, "evaluate_model", measure)
    context = SimpleNamespace(
        runs=tmp_path,
        folder=tmp_path / "trial",
        attempt=attempt(),
        device=torch.device("cpu"),
        images=lambda data: None,
        placement=SimpleNamespace(feature_weights=None, image_folder=None),
    )
    model = resolve(TrialConfig(model=VARConfig(head_dim=16, depth=2))).model
    wanted = stages.Asked([{"budgets": [64], "evaluations": requests, "samples_grid": "off"}])
    with pytest.raises(EnvironmentProblem, match="no weights here"):
        stages._evaluate(context, SimpleNamespace(model=model), wanted, None)
    found = [store.read_json(budget / "evaluations" / each["name"]) for each in requests[1:]]
    assert [each["seed"] for each in found] == [0, 1]
    assert all(0.5 < each["guidance_mean"] < 1.5 for each in found)
    assert not (budget / "evaluations" / requests[0]["name"]).exists()
