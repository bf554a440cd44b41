"""Where the tracker is: read once, said without its password, and the page on which a sweep is looked at."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from var_scaling.runs import layout, store

DEFAULT_URI = "sqlite:///mlflow.db"
URI_FILE = "VAR_SCALING_TRACKER"  # names a file of its owner's that holds the address: scripts are for all to read
VIEW_KEY = "var-scaling"  # of the view that the mirror shares with whoever opens the page
_SQLITE = "sqlite:///"


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, else a file in the working folder; `~` is the home of who asks."""
    kept = os.environ.get(URI_FILE)
    uri = Path(kept).read_text(encoding="utf-8").strip() if kept else os.environ.get("MLFLOW_TRACKING_URI")
    uri = uri or DEFAULT_URI
    return f"{_SQLITE}{Path(path).expanduser()}" if (path := sqlite_path(uri)) else uri


def sqlite_path(uri: str) -> str | None:
    """The path of an sqlite address as it is written there; None for any other address."""
    return uri.removeprefix(_SQLITE) if uri.startswith(_SQLITE) else None


def absolute_uri() -> str:
    """`tracking_uri` as it means the same in any folder."""
    uri = tracking_uri()
    return f"{_SQLITE}{Path(path).resolve()}" if (path := sqlite_path(uri)) else uri


def write_uri(path: Path) -> None:
    """Leave `absolute_uri` for a job, in a file that its owner alone can read: it may hold a password."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(absolute_uri())


def shown(text: str) -> str:
    """An address, or a message that may hold one, without user and password."""
    return re.sub(r"(?<=://)[^/\s@]+@", "***@", text)


def anonymous(uri: str) -> str:
    """An address without user and password, for one that somebody opens."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else uri


def answer(uri: str, seconds: float = 10) -> str:
    """What a server says to a first question: `200` where all is well, else why not."""
    headers = {}
    parts = urlsplit(uri)
    user, password = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
    if "@" in parts.netloc:
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if user is not None:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    elif token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(anonymous(uri).rstrip("/") + "/health", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=seconds) as reply:
            return str(reply.status)
    except (OSError, ValueError) as error:
        return shown(str(error))


def ui_address(uri: str, experiment: str) -> str:
    """The page of a sweep: the view that the mirror keeps for it (the default page of an experiment is empty).

    Args:
        uri: of the tracking store; a file's page is served by `mlflow ui --backend-store-uri URI`.
        experiment: its id.
    """
    server = anonymous(uri).rstrip("/") if uri.startswith("http") else "http://127.0.0.1:5000"
    return f"{server}/{page(experiment)}"


def page(experiment: str, mode: str = "CHART") -> str:
    """The part of a page's address behind the server: the shared view as charts, or as a table (`TABLE`)."""
    query = f"workflowType=machine_learning&viewStateShareKey={VIEW_KEY}&compareRunsMode={mode}"
    return f"#/experiments/{experiment}/runs?{query}"


def read_ui_address(runs: Path, sweep: str, uri: str | None = None) -> str | None:
    """`ui_address` of a sweep that has been mirrored to this store, or None. Imports no mlflow."""
    uri = uri or tracking_uri()
    state = store.read_json(state_path(layout.sweep(runs, sweep), uri))
    return ui_address(uri, state["experiment"]) if state and state.get("experiment") else None


def state_path(sweep_folder: Path, uri: str) -> Path:
    """Where the mirror keeps how far one store has been told of a sweep."""
    return layout.mirror_state(sweep_folder, hashlib.sha256(uri.encode()).hexdigest()[:12])
