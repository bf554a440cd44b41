"""One fitted study for all tests of figures."""

import pytest

from analysis.study.sources import study_of
from tests.support.fake_study import write_study


@pytest.fixture(scope="package")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    sweep = write_study(root, depths=(2, 3, 4, 5, 6, 8), budgets=(20_480, 61_440, 184_320), seeds=(0, 1))
    return study_of(sweep, targets=("loss_all_scales", "fid_corrected_classifier"))
