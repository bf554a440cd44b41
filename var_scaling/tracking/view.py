"""The page that is printed: a shared view of MLflow's run page, as the JSON that the page keeps of itself.

It is a tag of the experiment, `mlflow.sharedViewState.<key>`, and an address names its key. What each field does was
found by trying (MLflow 3.17): a chart's `uuid` and `metricSectionId` tie it to a section, `runsCountToCompare` is the
most runs that it draws (ten unless told), `runsHiddenMode` likewise hides all but ten, `orderByKey` sorts the table and
with it unfolds nested runs, `selectedColumns` are the table's.
"""

from __future__ import annotations

import json
import uuid
import zlib
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from var_scaling.tracking import rows
from var_scaling.tracking.address import VIEW_KEY
from var_scaling.tracking.points import LOG10_COMPUTE

TAG = f"mlflow.sharedViewState.{VIEW_KEY}"
MOST_RUNS = 5_000
MOST_BYTES = 4_500  # of a tag's value; above it the page reads a compressed one


def view_state(
    families: Sequence[str], fids: Sequence[str], budgets: Sequence[int], pictured: int | None
) -> dict[str, Any]:
    """Loss and FID against compute first, then loss against parameters, then curves against compute, then samples.

    Args:
        families: of the trials; each has its own losses and so its own charts.
        fids: labels of FIDs; likewise.
        budgets: images of each, which has curves of its own.
        pictured: images seen of the newest pictures, the step that is shown first; None: there are none.
    """
    if fids:
        best = rows.fid_metric(fids[0])
    elif families:  # before the first row a trial is as good as its curve
        best = rows.loss_metric(families[0]) if budgets else rows.of_family("train/loss", families[0])
    else:
        best = LOG10_COMPUTE
    first = [_scatter(rows.LOG10[rows.C], rows.loss_metric(f), f"Loss of {f} against log10 of FLOPs") for f in families]
    first += [
        _scatter(rows.LOG10[rows.C], rows.fid_metric(label), f"FID ({label}) against log10 of FLOPs") for label in fids
    ]
    second = [
        _scatter(rows.LOG10[rows.N], rows.loss_metric(f), f"Loss of {f} against log10 of parameters") for f in families
    ]
    third = [_curve(rows.of_family("train/loss", f), f"Training loss of {f} against log10 of FLOPs") for f in families]
    sections = [("Loss and FID against compute", first), ("Loss against parameters", second)]
    sections.append(("Curves against compute", third))
    if pictured is not None:
        sections.append(("Samples", [_images("samples", pictured)]))
    named = [(_id("section", name), name, charts) for name, charts in sections if charts]
    # The page makes charts of all other metrics, by the part of a name before its slash: these are there, folded.
    folded = [rows.PREFIX, "compute", "quality", "scale", "trunk", *(f"anneal_{images}" for images in budgets)]
    columns = ["params.`depth`", "params.`seed`", "params.`images`", "params.`FLOPs`"]
    columns += [f"metrics.`{rows.fid_metric(label)}`" for label in fids]
    columns += [f"metrics.`{name(f)}`" for f in families for name in (rows.loss_metric, rows.error_metric)]
    if len(families) > 1:
        columns.insert(0, "params.`family`")
    return {
        "orderByKey": f"metrics.`{best}`",
        "orderByAsc": True,
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": {name: 80 if name.startswith("params") else 130 for name in columns},
        "compareRunCharts": [chart | {"metricSectionId": id_} for id_, _, charts in named for chart in charts],
        "compareRunSections": [
            {"uuid": id_, "name": name, "display": name not in folded, "isReordered": True, "deleted": False}
            for id_, name in [*((id_, name) for id_, name, _ in named), *((_id("section", n), n) for n in folded)]
        ],
        "isAccordionReordered": True,
        "autoRefreshEnabled": True,
        "runsHidden": [],
        "runsVisibilityMap": {},
        "runsHiddenMode": "SHOW_ALL",
        "runsPinned": [],
        "runsExpanded": {},
        "viewMaximized": False,
    }


def as_tag(state: dict[str, Any]) -> str:
    """The value of the tag."""
    text = json.dumps(state, separators=(",", ":"))
    return text if len(text) <= MOST_BYTES else "deflate;" + b64encode(zlib.compress(text.encode())).decode()


def _id(*words: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join((VIEW_KEY, *words))))


def _chart(kind: str, name: str, **fields: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "uuid": _id(kind, name),
        "displayName": name,
        "runsCountToCompare": MOST_RUNS,
        "isGenerated": False,
        "deleted": False,
        **fields,
    }


def _scatter(x: str, y: str, name: str) -> dict[str, Any]:
    return _chart("SCATTER", name, xaxis={"key": x, "type": "METRIC"}, yaxis={"key": y, "type": "METRIC"})


def _curve(metric: str, name: str) -> dict[str, Any]:
    return _chart(
        "LINE",
        name,
        metricKey=metric,
        selectedMetricKeys=[metric],
        xAxisKey="metric",
        selectedXAxisMetricKey=LOG10_COMPUTE,
        xAxisScaleType="linear",
        scaleType="log",
        lineSmoothness=0,
        useGlobalLineSmoothing=False,
        useGlobalXaxisKey=False,
        displayPoints=False,
        ignoreOutliers=False,
        selectedYAxisMetricKey="",
        yAxisKey="metric",
        yAxisExpressions=[],
        range={},
    )


def _images(key: str, step: int) -> dict[str, Any]:
    return _chart("IMAGE", "Samples by images seen", imageKeys=[key], step=step, showRunParams=False)
