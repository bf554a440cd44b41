"""A real browser on the real MLflow page that a launch prints: the curves of all trials are there to be seen."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launch import engine
from var_scaling.tracking.address import read_ui_address

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
# No background traffic, since there is no network to answer it; no sandbox, since tests may run as root.
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1600,1300"
).split()


@pytest.fixture
def page(tmp_path: Path, fake_study: Path) -> Iterator[str]:
    """A finished sweep in a store, and the address of its page on a server."""
    runs = tmp_path / "runs"
    engine.run(fake_study, runs)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    env = {**os.environ, "MLFLOW_TRACKING_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    env["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    command = [sys.executable, "-m", "var_scaling.tracking.mlflow_mirror", str(runs), "fake", "--once"]
    subprocess.run(command, env=env, check=True, cwd=tmp_path, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--port", str(port), "--workers", "1"]
    server = subprocess.Popen(
        serve, env=env, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health")
        address = read_ui_address(runs, "fake", uri)
        assert address is not None
        yield address.replace("127.0.0.1:5000", f"127.0.0.1:{port}")
    finally:
        os.killpg(server.pid, 15)
        server.wait(20)


def _wait_for(url: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(f"{url} did not answer within {seconds:.0f} s")


@pytest.mark.skipif(BROWSER is None or DRIVER is None, reason="needs Debian's chromium and chromium-driver")
@pytest.mark.timeout(240)
def test_the_printed_page_shows_every_trial_s_curves(page: str, tmp_path: Path) -> None:
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = str(BROWSER)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path}/browser"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        driver.get(page)
        deadline = time.monotonic() + 90
        text, charts = "", 0
        while time.monotonic() < deadline:
            text = driver.find_element("tag name", "body").text
            charts = len(driver.find_elements("css selector", ".js-plotly-plot"))
            if charts and text.count("var-d") >= 4:
                break
            time.sleep(0.5)
        assert charts > 0, f"no chart was drawn: {text[:500]}"
        for trial in ("var-d2-s0", "var-d2-s1", "var-d3-s0", "var-d3-s1"):
            assert trial in text
        if folder := os.environ.get("VAR_SCALING_SCREENSHOTS"):
            time.sleep(3)  # for the eyes: let every chart settle
            driver.save_screenshot(str(Path(folder) / "mlflow.png"))
    finally:
        driver.quit()
