from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import pytest

from camtools.data.files import write_json
from camtools.report import write_report
from camtools.report.content import read_run
from camtools.report.markup import table
from camtools.report.summaries import case_scores
from camtools.report.viewer import Views, draw_views
from tests.report_runs import SLICE, Page, centre, change_rows, make_run, picture, views_of


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run_a")


# ------------------------------------------------------------------ all cases


def test_cases_of_the_viewer_are_on_the_page(run: Path) -> None:
    html = write_report(run).read_text(encoding="utf-8")
    second, first = views_of(html)
    assert (first["case"], first["split"], second["case"], second["split"]) == (
        "case_1",
        "validation",
        "case_2",
        "test",
    )
    assert first["scores"] == "Dice 50.0 %, HD95 3.00 mm, pseudo-masks Dice 25.0 %"
    assert (first["indices"], first["total"], first["start"]) == ([0, 1, 2, 3, 4, 5], 6, SLICE)
    for key, sources in first["layers"].items():
        assert [bool(source) for source in sources] == [False] * 4 + [True, False], key
        row, column = centre(picture(sources[SLICE])[..., 3])
        assert row < 0.5 < column, "at the patient's right and front"
    assert picture(first["images"][SLICE])[..., 0].shape == (20, 24)
    assert "1 case cannot be shown, the first: t (Expected an image at t.nii.gz" in Page(html).words


def test_worst_and_best_come_first_and_the_rest_is_named(run: Path) -> None:
    rows = json.loads((run / "dataset_check.json").read_text())
    header, *lines = (run / "metrics.csv").read_text().splitlines()
    for number, dice in ((3, 0.1), (4, 0.9), (5, 0.6)):
        rows.append(rows[2] | {"case": f"case_{number}"})
        lines.append(f"test,prediction,case_{number},,{dice},0.5,2,3")
    rows += [rows[2] | {"case": f"train_{number}", "split": "training"} for number in range(9)]
    write_json(rows[1:], run / "dataset_check.json")
    (run / "metrics.csv").write_text("\n".join([header, *lines]) + "\n")
    content = read_run(run)
    one = len(draw_views(content, most_bytes=1).cases[0].data)
    views = draw_views(content, most_bytes=one + 1)
    assert [view.case for view in views.cases] == ["case_3", "case_4"]
    assert views.notes == (
        "11 cases left out to keep the page small: "
        "case_1, case_2, case_5, train_0, train_1, train_2, train_3, train_4 and 3 more.",
    )
    everything = [view.case for view in draw_views(content).cases]
    assert everything == [*(f"case_{number}" for number in (2, 3, 4, 5, 1)), *(f"train_{i}" for i in range(8))]
    html = write_report(run).read_text(encoding="utf-8")
    extremes = html[html.index('id="extremes"') : html.index('id="viewer"')]
    assert re.findall(r"case_<wbr>\d", extremes) == [f"case_<wbr>{number}" for number in (3, 1, 4, 2)]
    assert [link["href"] for link in Page(extremes).all("a")] == ["#view-1", "#view-4", "#view-2", "#view-0"]


def test_splits_of_other_names_come_last(run: Path) -> None:
    views = draw_views(change_rows(run, "case_2", split="external"))
    assert [(view.case, view.split) for view in views.cases] == [("case_1", "validation"), ("case_2", "external")]


def test_case_without_pictures_has_no_link(run: Path) -> None:
    change_rows(run, "case_1", image="gone.nii.gz")
    html = write_report(run).read_text(encoding="utf-8")
    assert [view["case"] for view in views_of(html)] == ["case_2"]
    extremes = html[html.index('id="extremes"') : html.index('id="viewer"')]
    assert "case_<wbr>1" in extremes
    assert [link["href"] for link in Page(extremes).all("a")] == ["#view-0"]


def test_run_without_cases_says_so(tmp_path: Path) -> None:
    words = Page(write_report(tmp_path).read_text(encoding="utf-8")).words
    assert words.count("dataset_check.json is missing: the step check writes it.") == 2
    assert draw_views(read_run(tmp_path)) == Views()


def test_one_scored_case_has_no_extremes(run: Path) -> None:
    lines = (run / "metrics.csv").read_text().splitlines()
    (run / "metrics.csv").write_text("\n".join(line for line in lines if "case_2" not in line) + "\n")
    assert 'id="extremes"' not in write_report(run).read_text(encoding="utf-8")


def test_scores_in_words(run: Path) -> None:
    rows = read_run(run).metrics.content or []
    assert case_scores(rows, "case_2") == "Dice 75.0 %, HD95 3.00 mm, pseudo-masks Dice 25.0 %"
    assert case_scores(rows, "other") == ""
    assert case_scores([row for row in rows if row.output == "pseudo_mask"], "case_1") == "pseudo-masks Dice 25.0 %"


# ------------------------------------------------------------------ tables, script


def test_table_with_links_and_order() -> None:
    rows = [["a&b", 1], ["c", 2]]
    page = Page(table("Cases", ["Case", "Dice"], rows, 1, {"a&b": "#view-0"}, sortable=True, ascending="Dice"))
    assert page.all("table") == [{"class": "sortable"}]
    assert page.all("a") == [{"href": "#view-0"}]
    assert [heading.get("aria-sort") for heading in page.all("th")[:2]] == [None, "ascending"]
    assert Page(table("Cases", ["Case"], [["c"]])).all("table") == [{}]


def test_only_the_own_script_may_run(run: Path) -> None:
    html = write_report(run).read_text(encoding="utf-8")
    script = html[html.rindex("<script>") + len("<script>") : html.rindex("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(meta["content"] for meta in Page(html).all("meta") if "http-equiv" in meta)
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|innerHTML|eval\(", script)
