"""Rows of several families in one study: whose each row is, and the rows of one alone, since no two share a loss."""

from __future__ import annotations

import pandas as pd

from analysis.errors import BadRequest

TELLING = ("target", "order")  # columns in which models of one family differ by more than size


def kinds_of_rows(rows: pd.DataFrame, family: str | None) -> pd.Series:
    """Whose each row is: its variant where it has one, else its family, told apart by what a family's models differ in.

    Args:
        rows: a study's rows, or a CSV's.
        family: the column of families, where there is one.
    """
    found = rows[family].astype(str) if family else rows["variant"].astype(str)
    for column in TELLING:
        if family and column in rows:
            differs = rows.groupby(family)[column].transform("nunique") > 1
            found = found.where(~differs, found + "-" + rows[column].astype(str))
    return found.where(rows["variant"].isna(), rows["variant"].astype(str)) if "variant" in rows else found


def kinds(rows: pd.DataFrame) -> list[str]:
    """The kinds of model among a study's rows, where they are of more than one family; else none."""
    if "family" not in rows or rows["family"].nunique() < 2:
        return []
    return list(dict.fromkeys(kinds_of_rows(rows, "family")))


def of_one_kind(rows: pd.DataFrame, kind: str | None) -> pd.DataFrame:
    """The rows of one kind, with the columns that they have; all, where they are of one family.

    Raises:
        BadRequest: several families and none named, or a name that none has.
    """
    known = kinds(rows)
    if kind is None and not known:
        return rows
    whose = kinds_of_rows(rows, "family")
    if kind is None:
        raise BadRequest(
            f"rows of {len(known)} kinds ({', '.join(known)}), whose losses share no law: name one with --family"
        )
    if not (whose == kind).any():
        raise BadRequest(f"no rows of {kind!r}; there are {', '.join(dict.fromkeys(whose))}")
    part = rows[whose == kind].dropna(axis=1, how="all").reset_index(drop=True)
    part.attrs = dict(rows.attrs)
    return part
