"""Somebody's CSV: what its columns are taken for, which laws it gets, and what is said about the rest."""

import pytest

from analysis.lawtable import percent


@pytest.mark.parametrize(
    ("share", "text"), [(-0.00001, "0.00"), (0.00004, "0.00"), (-0.00006, "-0.01"), (0.0123, "+1.23"), (0.0, "0.00")]
)
def test_what_rounds_to_nothing_has_no_sign(share, text):
    assert percent(share) == text
