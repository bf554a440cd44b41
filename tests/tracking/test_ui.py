"""A real browser on the real MLflow page that a launch prints: what is drawn there is what was trained."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import needs_browser, opened
from tests.tracking.grown import BUDGETS, DEPTHS, FAMILIES, FID, SEEDS, grow
from var_scaling.tracking.address import read_ui_address
from var_scaling.tracking.rows import flops_text, row_name

# Titles, axes and points of every chart, with the section that it stands in.
CHARTS = """
const title = axis => axis?.title?.text || '';
return [...document.querySelectorAll('.js-plotly-plot')].map(plot => ({
    x: title(plot.layout?.xaxis), y: title(plot.layout?.yaxis),
    traces: (plot.data || []).map(t => ({name: t.name, x: [...(t.x || [])], y: [...(t.y || [])]})),
    top: plot.getBoundingClientRect().top
}))
"""
PICTURES = """
return [...document.querySelectorAll('img')].filter(i => i.naturalWidth > 60 && i.src.includes('artifact')).length
"""
TABLE = """
return [...document.querySelectorAll('.ag-center-cols-container .ag-row, .ag-pinned-left-cols-container .ag-row')]
    .map(row => [Number(row.getAttribute('row-index')), row.innerText])
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of a finished sweep's page on a server, and the sweep's rows."""
    root = tmp_path_factory.mktemp("ui")
    rows = grow(root / "runs")
    uri = f"sqlite:///{root}/mlflow.db"
    env = {**os.environ, "MLFLOW_TRACKING_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    env["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    command = [sys.executable, "-m", "var_scaling.tracking.mlflow_mirror", str(root / "runs"), "ladder", "--once"]
    subprocess.run(command, env=env, check=True, cwd=root, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--port", str(port), "--workers", "1"]
    server = subprocess.Popen(
        serve, env=env, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health")
        address = read_ui_address(root / "runs", "ladder", uri)
        assert address is not None
        yield address.replace("127.0.0.1:5000", f"127.0.0.1:{port}"), rows
    finally:
        os.killpg(server.pid, 15)
        server.wait(20)


def _wait_for(url: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(f"{url} did not answer within {seconds:.0f} s")


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    with opened(tmp_path, "mlflow", window="1900,2400") as driver:
        yield driver


def _until(driver: Any, script: str, enough: Any, seconds: float = 150) -> Any:
    """What a script returns once it is enough, or at last."""
    deadline = time.monotonic() + seconds
    while True:
        found = driver.execute_script(script)
        if enough(found) or time.monotonic() > deadline:
            return found
        time.sleep(2)


def _points(chart: dict[str, Any]) -> list[tuple[float, float]]:
    return sorted(
        (x, y) for trace in chart["traces"] for x, y in zip(trace["x"], trace["y"], strict=False) if y is not None
    )


def _same(found: list[tuple[float, float]], expected: list[tuple[float, float]]) -> bool:
    return len(found) == len(expected) and all(
        math.isclose(a, b, rel_tol=1e-6)
        for f, e in zip(found, sorted(expected), strict=True)
        for a, b in zip(f, e, strict=True)
    )


@needs_browser
@pytest.mark.timeout(900)
def test_the_printed_page_draws_every_row_first_and_the_best_run_on_top(page: Any, browser: Any) -> None:
    address, rows = page
    assert len(rows) == 48, "the premise: far more than the ten runs that a page shows unasked"
    browser.get(address)
    names = [chart["y"] for chart in _until(browser, CHARTS, lambda found: len(found) >= 7)][:7]
    charts = _until(
        browser, CHARTS, lambda found: len(found) >= 7 and all(len(found[k]["traces"]) >= 12 for k in (5, 6))
    )
    first = sorted(charts[:7], key=lambda chart: chart["top"])
    # Loss of each family in a chart of its own and FID against compute, then loss against parameters, then curves.
    assert [(chart["x"], chart["y"]) for chart in charts[:5]] == [
        ("budget/log10_C", "budget/loss_raster"),
        ("budget/log10_C", "budget/loss_var"),
        ("budget/log10_C", f"budget/fid_{FID}"),
        ("budget/log10_N", "budget/loss_raster"),
        ("budget/log10_N", "budget/loss_var"),
    ], names
    assert [chart["top"] for chart in first] == [chart["top"] for chart in charts[:7]], "in this order down the page"
    of = {family: [row for row in rows if row["family"] == family] for family in FAMILIES}
    logs = {"budget/log10_C": "train_flops", "budget/log10_N": "params_total"}
    for chart, family in zip(charts[:5], ("raster", "var", None, "raster", "var"), strict=True):
        chosen, value = (of[family], "loss_all_scales") if family else (rows, "fid")
        expected = [(math.log10(row[logs[chart["x"]]]), row[value]) for row in chosen]
        assert _same(_points(chart), expected), f"{chart['y']}: {len(_points(chart))} of {len(expected)} points"
    for chart, family in zip(charts[5:7], ("raster", "var"), strict=True):
        lines = [trace for trace in chart["traces"] if len(trace["x"]) > 5]  # of a run two: as it is, and smoothed
        names = {f"{family}-d{d}-s{s}-{family[0]}{d:02d}{s:02d}abcdef" for d in DEPTHS for s in SEEDS}
        assert {trace["name"] for trace in lines} == names, f"{family}: a curve a trial"
        highest = max(x for trace in lines for x in trace["x"])
        assert highest == pytest.approx(math.log10(2_100_000 * DEPTHS[-1] ** 3 * BUDGETS[-1] * 0.8), abs=0.05)
    assert _until(browser, PICTURES, lambda n: n > 0), "samples are shown"
    page_text = browser.find_element("tag name", "body").text
    sections = ["Loss and FID against compute", "Loss against parameters", "Curves against compute", "Samples"]
    assert [page_text.index(name) for name in sections] == sorted(page_text.index(name) for name in sections)
    best = [row_name(row, {}) for row in sorted(rows, key=lambda row: row["fid"])]
    table = _until(browser, TABLE, lambda found: len({index for index, _ in found}) >= 48)
    listed = {index: line.strip() for index, text in table for line in text.splitlines() if "·" in line}
    assert [listed.get(index) for index in range(48)] == best, "all rows, the best FID first"


@needs_browser
@pytest.mark.timeout(900)
def test_the_table_shows_depth_seed_images_flops_loss_error_and_fid(page: Any, browser: Any) -> None:
    address, rows = page
    browser.get(address.replace("CHART", "TABLE"))
    headers = "return [...document.querySelectorAll('.ag-header-cell')].map(cell => cell.innerText.trim())"
    found = _until(browser, headers, lambda names: "depth" in names)
    wanted = {"family", "depth", "seed", "images", "FLOPs", f"budget/fid_{FID}"}
    wanted |= {f"budget/{name}_{family}" for name in ("loss", "error") for family in FAMILIES}
    assert wanted <= set(found)
    table = _until(browser, TABLE, lambda lines: len({index for index, _ in lines}) >= 48)
    text = {index: "\n".join(words for i, words in table if i == index) for index, _ in table}
    best = sorted(rows, key=lambda row: row["fid"])
    for index, row in enumerate(best):
        assert flops_text(row["train_flops"]) in text[index], f"line {index}: {text[index]}"
        assert str(row["fid"])[:5] in text[index]
