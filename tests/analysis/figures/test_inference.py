"""The figure of inference compute draws each model that was sampled in several ways, and nothing else."""

import pandas as pd

from analysis.figures.inference import draw_inference, trained_models


def means():
    lines = []
    for cell, compute in (("a", 1e11), ("b", 1e12)):
        for name, flops, fid in (("var, g1.5", 1e7, 4.0), ("var, g1.5-best4", 4e7, 3.5), ("var, g1.5-re4", 4e7, 3.2)):
            lines.append({"contender": name, "cell": cell, "compute": compute, "sample_flops": flops, "fid": fid})
    lines.append({"contender": "raster", "cell": "c", "compute": 1e11, "sample_flops": 1e7, "fid": 5.0})
    return pd.DataFrame(lines).assign(images=100, fid_low=lambda t: t.fid - 0.1, fid_high=lambda t: t.fid + 0.1)


def test_models_sampled_once_are_left_out():
    assert set(trained_models(means())["kind"]) == {"var"}
    assert draw_inference(means()[lambda t: t.contender == "raster"], "classifier") is None


def test_a_line_a_model_and_way_through_all_its_points():
    figure = draw_inference(means(), "classifier features")
    (ax,) = figure.axes
    drawn = sorted((line.get_linestyle(), tuple(line.get_xdata())) for line in ax.lines if line.get_marker() != "None")
    assert drawn == [("-", (1e7,))] * 2 + [("--", (1e7, 4e7))] * 2 + [(":", (1e7, 4e7))] * 2
    assert ax.get_xlabel() == "FLOPs to sample an image"
    assert ax.get_title() == "var"
    import matplotlib.pyplot as plt

    plt.close(figure)
