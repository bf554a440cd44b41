"""Run folders and CSVs -> one table, one row a (trial, budget)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from analysis.errors import BadRequest, NotThere
from analysis.rows import folders

REQUIRED = ("trial", "images_seen")

# What an evaluation file says about the metric rather than measures: its column is fid_features_<label>, not
# features_<label>.
DESCRIPTIONS = ("features", "reference", "class_shares", "samples", "guidance", "top_k", "top_p")

# What sampling decides, with the stem of its interval's ends; evaluations that differ in their seed alone are averaged.
MEASURED = {
    "fid": None,
    "fid_corrected": "fid",
    "fid_reference_bias": None,
    "kid": "kid",
    "precision": None,
    "recall": None,
    "inception_score": None,
}


def load_runs(path: str | Path) -> pd.DataFrame:
    """One row a (trial, budget).

    Args:
        path: the runs root (holds ``trials/``), a sweep folder (holds ``study.json``), a folder of trials, one trial,
            or
            a CSV file.

    Returns:
        The columns of each ``row.json``; ``images_asked`` where a study asked for that budget; ``variant`` where it has
        any; ``folder``, the trial's folder name; and of each evaluation ``fid_<label>``, ``fid_corrected_<label>``, ...
        beside ``fid_features_<label>``, ``fid_samples_<label>``, ... A value that is missing on disk is missing here.
        ``attrs["left_out"]``: a list of {"trial", "folder", "images_asked", "cause"} for every budget without a row;
        ``attrs["source"]``: what was read; ``attrs["study"]``: the study's name, where it is one.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: there, but no trial or no table; or a file that cannot be read, by name.
    """
    path = Path(path)
    if not path.exists():
        raise NotThere(f"{path} does not exist; give a runs folder, a sweep, a trial or a CSV file")
    if path.is_file():
        return _read_csv(path)
    if folders.is_sweep(path):
        return _load_study(path)
    if folders.is_trial(path):
        return _load_trials([path], source=path)
    trials = sorted(child for child in folders.trials_below(path).iterdir() if folders.is_trial(child))
    if not trials:
        raise BadRequest(
            f"{path} holds no trial and no study.json; give the runs folder, a sweep, a trial or a CSV file"
        )
    return _load_trials(trials, source=path)


def newest_sweep(runs: str | Path) -> Path:
    """The sweep folder under `runs` that was launched last.

    What `train` and `evaluate` leave, named after its one trial, counts only where there is nothing else.

    Raises:
        FileNotFoundError: no sweep there.
    """
    studies = []
    for file in folders.studies(Path(runs)):
        study = folders.read_json(file)
        alone = [str(study.get("name")).rpartition("-")[2]] == [trial.get("trial") for trial in study.get("trials", [])]
        studies.append((not alone, str(study.get("launched") or ""), file.parent))
    if not studies:
        raise NotThere(f"no sweep under {runs}/sweeps; launch one, or give a folder or a CSV file")
    return max(studies, key=lambda entry: entry[:2])[2]


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        names, separator = _header(path)
        # where commas do not separate, they may be decimal
        reads = [_read_rows(path, names, separator, sign) for sign in ("." if separator == "," else ".,")]
    except pd.errors.EmptyDataError as error:
        raise BadRequest(f"{path} is empty; a table needs a header and rows") from error
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise BadRequest(f"{path} is not a CSV table: {error}") from error
    table = max(reads, key=lambda read: read.select_dtypes("number").shape[1])
    table = table.dropna(how="all")  # spreadsheets write the rows below a table as commas
    if table.empty:
        raise BadRequest(f"{path} has a header and no rows")
    table.attrs |= {"left_out": [], "source": str(path)}
    return table


def _header(path: Path) -> tuple[list[str], str]:
    """The names of the columns, and what separates them: semicolons or tabs where commas make one column."""

    def split(separator: str) -> list[str]:
        header = pd.read_csv(path, sep=separator, header=None, nrows=1, dtype=str, keep_default_na=False)
        return [str(name).strip() for name in header.iloc[0]]

    names, separator = split(","), ","
    if any("\0" in name for name in names) or names == [""]:
        raise BadRequest(f"{path} is not a CSV table: its first line holds no names of columns")
    if len(names) == 1:
        separator = next((sign for sign in (";", "\t") if sign in names[0]), ",")
        names = split(separator)
    twice = [name for name in dict.fromkeys(names) if name and names.count(name) > 1]
    if twice:
        raise BadRequest(f"{path} has more than one column {', '.join(map(repr, twice))}; give each a name of its own")
    return [name or f"Unnamed: {place}" for place, name in enumerate(names)], separator


def _read_rows(path: Path, names: list[str], separator: str, decimal: str) -> pd.DataFrame:
    """The rows under the header; rows may end in empty fields beyond it.

    Raises:
        ValueError: a row that has more fields than the header has names: which column they belong to is not known.
    """
    table = pd.read_csv(path, sep=separator, decimal=decimal, header=0, names=names)
    if not isinstance(table.index, pd.RangeIndex):  # of wider rows pandas takes the first fields for their names
        table = table.reset_index()
    beyond = table.iloc[:, len(names) :].notna().any(axis=1).to_numpy()
    if beyond.any():
        raise BadRequest(
            f"row {beyond.argmax() + 1} of {path} has more fields than the header has names ({', '.join(names)}); name "
            "each column, also one of row names, or take the extra fields out"
        )
    return table.iloc[:, : len(names)].set_axis(names, axis=1)


def _load_study(folder: Path) -> pd.DataFrame:
    study = folders.read_json(folders.study_file(folder))
    trials = folders.trials_of_sweep(folder)
    wanted = {
        str(evaluation[key]).removesuffix(".json")
        for evaluation in study.get("evaluations", [])
        for key in ("name", "hash")
        if key in evaluation
    }
    rows, left_out = [], []
    for entry in study.get("trials", []):
        trial = trials / entry["folder"]
        variant = {name: value for name, value in entry.get("axes", {}).items() if name == "variant"}
        for budget in entry.get("budgets", []):
            row = _read_budget(trial, folders.budget(trial, budget["images"]), wanted)
            if row is None:
                left_out.append(
                    {
                        "trial": entry.get("trial"),
                        "folder": entry["folder"],
                        "images_asked": budget["asked"],
                        "cause": folders.cause_of(trial),
                    }
                )
            else:
                rows.append({**row, **variant, "images_asked": budget["asked"]})
    table = _table(rows, folder)
    table.attrs |= {"left_out": left_out, "source": str(folder), "study": study.get("name", folder.name)}
    return table


def _load_trials(trials: Iterable[Path], source: Path) -> pd.DataFrame:
    rows, left_out = [], []
    for trial in trials:
        found = [row for budget in folders.budgets(trial) if (row := _read_budget(trial, budget, None)) is not None]
        rows += found
        if not found:
            left_out.append(
                {
                    "trial": trial.name.rsplit("-", 1)[-1],
                    "folder": trial.name,
                    "images_asked": None,
                    "cause": folders.cause_of(trial),
                }
            )
    table = _table(rows, source)
    table.attrs |= {"left_out": left_out, "source": str(source)}
    return table


def _table(rows: list[dict], source: Path) -> pd.DataFrame:
    if not rows:
        return pd.DataFrame(columns=list(REQUIRED))
    table = pd.DataFrame(rows)
    absent = [name for name in REQUIRED if name not in table]
    if absent:
        raise BadRequest(f"the rows of {source} lack {', '.join(absent)}; they were not written by a finished budget")
    return table


def _read_budget(trial: Path, budget: Path, wanted: set[str] | None) -> dict | None:
    """The row of one budget with its evaluations; None where it is not trained yet."""
    file = folders.row_file(budget)
    if not file.is_file():
        return None
    row = {name: value for name, value in folders.read_json(file).items() if value is not None}
    row["folder"] = trial.name
    of_label: dict[str, list[dict]] = {}
    for evaluation_file in folders.evaluation_files(budget):
        if wanted is not None and not {evaluation_file.stem, evaluation_file.stem.rsplit("-", 1)[-1]} & wanted:
            continue
        evaluation = folders.read_json(evaluation_file)
        label = str(evaluation.get("label") or evaluation.get("features") or evaluation.get("kind"))
        of_label.setdefault(label, []).append(evaluation)
    for label, evaluations in of_label.items():
        evaluation = _over_seeds(evaluations)
        kind = str(evaluation.get("kind", "fid"))
        for name, value in evaluation.items():
            if name in ("kind", "label") or value is None or isinstance(value, (dict, list)):
                continue
            row[f"{kind}_{name}_{label}" if name in DESCRIPTIONS else f"{name}_{label}"] = value
    return row


def _over_seeds(evaluations: list[dict]) -> dict:
    """One evaluation of several sampling seeds: means, the interval of the mean, and the spread of one seed.

    Evaluations of one label that differ otherwise were not made by this toolkit's rule of names; the one with the most
    samples counts.
    """
    most = max(evaluation.get("samples", 0) for evaluation in evaluations)
    alike = {
        evaluation.get("seed", 0): evaluation for evaluation in evaluations if evaluation.get("samples", 0) == most
    }
    if len(alike) == 1:
        return next(iter(alike.values()))
    table = pd.DataFrame(list(alike.values()))
    found = {name: value for name, value in table.iloc[0].dropna().items() if name != "seed"} | {"seeds": len(table)}
    for name, stem in MEASURED.items():
        if name not in table or table[name].isna().all():
            continue
        found[name] = float(table[name].mean())
        if stem is None or f"{stem}_low" not in table:
            continue
        margins = (table[f"{stem}_high"] - table[f"{stem}_low"]) / 2
        margin = float((margins**2).sum() ** 0.5 / margins.count())
        found |= {f"{stem}_low": found[name] - margin, f"{stem}_high": found[name] + margin}
        found[f"{stem}_spread"] = float(table[name].std()) if margins.count() > 1 else 0.0
    return found
