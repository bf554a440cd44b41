"""A sweep of two trials on disk and an empty MLflow store."""

import os
import shutil

import pytest

from tests.support.tracker import Sweep
from var_scaling.tracking.connect import connect

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"


@pytest.fixture
def sweep(tmp_path):
    return Sweep(tmp_path)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """Making the schema takes seconds: once a session, then copied."""
    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    connect(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def uri(empty_store, tmp_path, monkeypatch):
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return f"sqlite:///{tmp_path / 'mlflow.db'}"
