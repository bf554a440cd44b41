"""A client of the tracker that fails fast and reports to nobody, a store made whole, and what an error means."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path
from typing import Any

from var_scaling.tracking.address import sqlite_path


def connect(uri: str) -> Any:
    """A client; waiting is the mirror's to do."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ["MLFLOW_ENABLE_ASYNC_LOGGING"] = "false"  # it loses metrics in an outage (measured)
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # with its password
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    import logging

    logging.getLogger("alembic").setLevel(logging.WARNING)
    import mlflow
    from mlflow.tracking import MlflowClient

    if (path := sqlite_path(uri)) and not Path(path).exists():
        _create_database(Path(path))
    mlflow.set_tracking_uri(uri)
    return MlflowClient(tracking_uri=uri)


def _create_database(path: Path) -> None:
    """An empty store, whole or not at all.

    MLflow's own way is forty migrations in place; killed half-way, it leaves a file that it never opens again.
    """
    from mlflow.tracking import MlflowClient

    path.parent.mkdir(parents=True, exist_ok=True)
    prepared = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    MlflowClient(tracking_uri=f"sqlite:///{prepared}").search_experiments(max_results=1)
    with contextlib.suppress(FileExistsError):  # another process was faster
        os.link(prepared, path)
    prepared.unlink()


def prepare(uri: str, sweep: str) -> str:
    """Creates the store and the sweep's experiment where they are missing; returns the experiment's id.

    Called by one process before any other opens a new store: sixteen at once left none that could be opened.
    """
    return experiment_of(connect(uri), uri, sweep)


def experiment_of(client: Any, uri: str, sweep: str) -> str:
    """The id of a sweep's experiment, made or brought back where it has to be."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(sweep)
    if found is not None:
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)
    # With a file, artifacts would go below the folder of whoever creates the experiment, for ever: say where.
    location = None if uri.startswith("http") else (Path("mlruns").resolve() / sweep).as_uri()
    try:
        return str(client.create_experiment(sweep, artifact_location=location))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return str(client.get_experiment_by_name(sweep).experiment_id)


def may_pass(error: BaseException, uri: str) -> bool:
    """Whether to try again later may help: the tracker is silent or busy. If not, it has answered and said no."""
    import requests
    from mlflow.exceptions import MlflowException

    status = None
    if isinstance(error, requests.RequestException):
        status = None if error.response is None else error.response.status_code
    elif isinstance(error, MlflowException):
        status = error.get_http_status_code()
    elif isinstance(error, OSError):  # of a file, unless somebody at the other end hung up
        return isinstance(error, ConnectionError | TimeoutError)
    if uri.startswith("http"):
        return status in (None, 429) or status >= 500
    words = f"{type(error).__name__} {error}"  # of a database behind SQLAlchemy, which MLflow wraps in its own
    return status == 503 or any(word in words for word in ("OperationalError", "locked", "Timeout"))
