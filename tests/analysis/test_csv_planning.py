"""Plans from somebody's CSV: columns of any name, sizes that are no depths, and questions that cannot be answered."""

import pytest

from analysis import planning
from analysis.counting import COMPUTE_WORDS
from tests.analysis.test_csv_laws import grid


def test_a_device_is_looked_up_where_no_row_was_timed():
    rate, source = planning.device_rate(grid(), "h100")
    assert rate == pytest.approx(0.35 * 989e12)
    assert "data sheet" in source


def test_six_n_d_of_a_study_says_which_n():
    assert COMPUTE_WORDS["flops_6nd"] == "C: 6 x all parameters x tokens seen"
