"""`var-scaling report`: one page that needs nothing else, as a browser shows it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from analysis.report.files import write_laws
from analysis.study.sources import study_of
from tests.support.browser import needs_browser, opened
from tests.support.fake_study import write_study
from tests.support.programs import run
from var_scaling.cli.report import _current, _rows_of

COLUMN = """
const table = document.querySelector('table.rows'), names = [...table.tHead.rows[0].cells].map(c => c.textContent);
const place = names.indexOf(arguments[0]);
return [...table.tBodies[0].rows].filter(row => !row.hidden).map(row => row.cells[place].dataset.value)
"""
CLICK = """
const heads = [...document.querySelectorAll('table.rows th')];
heads.find(head => head.textContent === arguments[0]).click()
"""
FILTER = """
const box = document.querySelector('.filter'); box.value = arguments[0]; box.dispatchEvent(new Event('input'));
return document.querySelector('.found').textContent
"""
BROKEN = "return [...document.images].filter(i => !(i.complete && i.naturalWidth)).map(i => i.alt)"
OUTSIDE = re.compile(r'(?:src|href)="(?!data:|#)([^"]*)"|url\(|@import')


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A planted study with samples, a tokenizer and its reconstructions."""
    root = tmp_path_factory.mktemp("report") / "runs"
    sweep = write_study(root, depths=(2, 3, 4, 5), failed=((5, 0),), seeds=(0, 1))
    stages = [f"store/{kind}/ab12" for kind in ("tokenizer", "reconstruction")]
    for stage in stages:
        (root / stage / "result").mkdir(parents=True)
    found = {"images": 500, "psnr": 21.1, "usage": 0.98, "rfid_train_corrected": 2.15, "rfid_train_low": 2.0}
    found |= {"rfid_train_high": 2.3, "usage_scale_1": 0.271, "perplexity_scale_1": 36.2}
    (root / stages[1] / "result" / "report.json").write_text(json.dumps(found))
    Image.new("L", (40, 20), 90).save(root / stages[1] / "result" / "reconstructions.png")
    study = json.loads((sweep / "study.json").read_text())
    study["description"] = "garments <b>& more</b>"
    for entry in study["trials"]:
        entry["stages"] = stages
    (sweep / "study.json").write_text(json.dumps(study))
    (sweep / "study.yaml").write_text("name: depth\n# odd: <script>alert(1)</script>\n")
    return sweep


@pytest.fixture(scope="module")
def page(sweep: Path) -> Path:
    write_laws(study_of(sweep, targets=("loss_all_scales", "fid_corrected_classifier")), sweep / "laws")
    for budget in sweep.parents[1].glob("trials/*/budgets/*"):  # later: figures would cut them into their tiles
        Image.new("L", (60, 40), 90).save(budget / "samples.png")
    done = run("scaling", "report", "depth", "--runs", str(sweep.parents[1]), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["bytes"] == Path(told["file"]).stat().st_size < 5_000_000
    return Path(told["file"])


def test_the_page_needs_no_second_file_and_holds_what_a_reader_asks_for(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not OUTSIDE.findall(text)
    assert "http" not in re.sub(r"data:[^\"]*", "", text).replace("xmlns", "")
    for said in ("largest model hidden", "garments &lt;b&gt;&amp; more&lt;/b&gt;", "PSNR <b>21.10 dB</b>", "27.1 %"):
        assert said in text, said
    assert "2.15 (2.00 to 2.30)" in text
    assert "depth=5-seed=0-0500abcdef at 20,480 images: diverged" in text, "what is missing, with its reason"
    assert "<script>alert" not in text, "a study file is text"
    assert "@inproceedings{tian2024var" in text
    stems = {path.stem for path in page.parent.glob("*.png")} - {"samples"}
    assert {"loss_params", "loss_compute"} <= stems
    for stem in stems:
        assert f'id="{stem}"' in text, stem
        assert f'download="{stem}.csv"' in text, f"the rows behind {stem}"


def test_laws_are_fitted_anew_only_where_rows_have_come(page: Path, sweep: Path) -> None:
    laws = page.parent / "laws.json"
    before = laws.stat().st_mtime_ns
    again = run("scaling", "report", "depth", "--runs", str(sweep.parents[1]), "--out", str(page.parent / "b.html"))
    assert again.returncode == 0, again.stderr
    assert laws.stat().st_mtime_ns == before
    assert (page.parent / "b.html").read_bytes() == page.read_bytes()
    newest = max(path.stat().st_mtime for path in _rows_of(sweep))
    assert _current(page.parent, newest)
    assert not _current(page.parent, laws.stat().st_mtime + 1), "a row that came since"
    assert not _current(sweep, newest), "no laws at all"
    wrong = run("scaling", "report", str(page.parent / "rows.csv"))
    assert wrong.returncode == 2
    assert "is no sweep" in wrong.stderr


@needs_browser
@pytest.mark.parametrize("window", ["1300,2000", "500,900"])
def test_a_browser_shows_it_whole(page: Path, tmp_path: Path, window: str) -> None:
    with opened(tmp_path, "report", window) as driver:
        driver.get(page.as_uri())
        assert not driver.get_log("browser"), "no error on the console"
        assert driver.execute_script(BROKEN) == []
        assert driver.execute_script("return document.images.length") > 12
        assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth"), "a phone reads it"
        _sorts_and_filters(driver)
        driver.execute_script("document.querySelector('figure img.zooms').click()")
        assert driver.execute_script("return document.getElementById('zoom').open")
        driver.execute_script("document.querySelector('#zoom img').click()")
        assert not driver.execute_script("return document.getElementById('zoom').open")
        assert not driver.get_log("browser")


def _sorts_and_filters(driver: Any) -> None:
    unsorted = [float(value) for value in driver.execute_script(COLUMN, "loss, all scales")]
    driver.execute_script(CLICK, "loss, all scales")
    rising = [float(value) for value in driver.execute_script(COLUMN, "loss, all scales")]
    assert rising == sorted(unsorted) != unsorted
    driver.execute_script(CLICK, "loss, all scales")
    assert [float(v) for v in driver.execute_script(COLUMN, "loss, all scales")] == rising[::-1]
    driver.execute_script(CLICK, "parameters")  # as numbers: as text 1,123,456 is before 76,864
    sizes = [float(value) for value in driver.execute_script(COLUMN, "parameters")]
    assert sizes == sorted(sizes)
    assert driver.execute_script(FILTER, "depth=3 var") == "4 of 14 rows"
    assert {float(value) for value in driver.execute_script(COLUMN, "depth")} == {3.0}
    assert driver.execute_script(FILTER, "") == "14 of 14 rows"
