from __future__ import annotations

import base64
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from camtools.data.files import write_json
from camtools.report import sheet_section, write_report
from camtools.report.cells import CELL
from camtools.report.content import read_run
from camtools.report.sheet import GAP, LABEL_WIDTH, sheet_rows
from tests.report_runs import STEPS, Page, make_panel, make_run, save_panel, views_of


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run_a")


def page_of(run: Path) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


# ------------------------------------------------------------------ the page


def test_page_is_self_contained(run: Path) -> None:
    html = write_report(run).read_text(encoding="utf-8")
    page = Page(html)
    assert [sorted(script) for script in page.all("script")] == [["id", "type"], ["id", "type"], []], (
        "two cases, one script"
    )
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert "http:" not in value
            assert "https:" not in value
            assert not name.startswith("on"), "no script in attributes"
            if name in ("src", "srcset", "data", "poster", "action") or (name == "href" and tag != "a"):
                assert value.startswith("data:"), (tag, name)
    assert "url(" not in html
    assert "@import" not in html
    assert len(page.all("img")) == 2 * len(STEPS) + 2


def test_page_is_semantic_and_reachable_by_keyboard(run: Path) -> None:
    page = page_of(run)
    assert page.all("html")[0]["lang"] == "en"
    assert "width=device-width" in [meta.get("content", "") for meta in page.all("meta")][1]
    assert len(page.all("h1")) == 1
    assert len(page.all("caption")) == len(page.all("table")) == 5
    assert all(cell["scope"] in ("row", "col") for cell in page.all("th"))
    sheet, cards = page.all("img")[2:], page.all("img")[:2]
    assert all(image["alt"] and image["width"] and image["height"] for image in sheet)
    assert all(card["alt"] == "" for card in cards), "the link's words say what they show"
    labelled = {label["for"] for label in page.all("label") if "for" in label}
    controls = [*page.all("select"), *(field for field in page.all("input") if field["type"] == "range")]
    assert {control["id"] for control in controls} <= labelled
    assert all(curve["role"] == "img" and curve["aria-label"] for curve in page.all("svg"))
    scrolling = [part for part in page.all("div") if part.get("class") == "scroll"]
    assert scrolling
    assert all(part["tabindex"] == "0" and part["aria-label"] for part in scrolling)
    identifiers = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    assert {link["href"] for link in page.all("a")} <= {f"#{name}" for name in identifiers}


def test_page_holds_the_numbers_of_the_run(run: Path) -> None:
    page = page_of(run)
    for words in ("umcam+spl", "run_a", "75.0 ± 0.0", "50.0 ± 0.0", "3.00 ± 0.00", "25.0 ± 0.0"):
        assert words in page.words
    assert "1 min 15 s" in page.words
    assert "unfinished" in page.words
    assert "2.15.0" in page.words
    assert "layers:\n- <x>" in page.words
    html = (run / "report.html").read_text(encoding="utf-8")
    cases = html[html.index("one row per case</caption>") :]
    assert cases.index("case_<wbr>1") < cases.index("case_<wbr>2"), "Dice 0.5 comes before Dice 0.75"
    assert [curve["aria-label"].split(":")[0] for curve in page.all("svg")] == [
        "classifier loss",
        "classifier accuracy",
        "segmenter loss",
        "segmenter dice",
    ]


def test_names_are_escaped(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a&b", names=("<u>1", '"><script>x'), method="<i>m</i>")
    save_panel(run, make_panel("<u>1", layers=("<s>", "b")))
    page = page_of(run)
    for tag in ("i", "u", "s"):
        assert not page.all(tag)
    assert len(page.all("script")) == 3
    names = {view["case"] for view in views_of((run / "report.html").read_text(encoding="utf-8"))}
    assert names == {"<u>1", '"><script>x'}
    for words in ("<i>m</i>", "<u>1", '"><script>x', "Map <s>", "Run a&b"):
        assert words in page.words


def test_pictures_have_the_right_size_and_the_page_stays_small(run: Path) -> None:
    page = page_of(run)
    for image in page.all("img")[2:]:
        content = base64.b64decode(image["src"].removeprefix("data:image/jpeg;base64,"))
        assert Image.open(io.BytesIO(content)).size == (CELL, CELL)
    assert (run / "report.html").stat().st_size < 400_000
    with Image.open(run / "contact_sheet.png") as sheet:
        assert sheet.width == LABEL_WIDTH + len(STEPS) * (CELL + GAP)
        assert sheet.height > 2 * CELL


# ------------------------------------------------------------------ what is missing


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("manifest.json", "manifest.json is missing: the step check writes it."),
        ("dataset_check.json", "dataset_check.json is missing: the step check writes it."),
        ("metrics.csv", "metrics.csv is missing: the step evaluate writes it."),
        ("classifier", "Classifier: history.json is missing: the step classify writes it."),
        ("segmenter", "Segmenter: history.json is missing: the step segment writes it."),
        ("panels", "panels/ holds no panel: the step pseudo_label writes them."),
        ("predictions/case_1.nii.gz", "No prediction: the step predict writes it."),
        ("data/case_1.nii.gz", "data/case_1.nii.gz is missing."),
    ],
)
def test_missing_parts_are_named(run: Path, part: str, message: str) -> None:
    path = run / part
    assert message not in page_of(run).words
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert message in page_of(run).words


@pytest.mark.parametrize(
    ("part", "content", "message"),
    [
        ("manifest.json", "[1]", "manifest.json cannot be read (expected a JSON dict, found a list)"),
        ("manifest.json", "{", "manifest.json cannot be read"),
        ("dataset_check.json", "[1]", "expected a list of JSON objects, found other entries"),
        ("metrics.csv", "a,b\n", "metrics.csv cannot be read"),
        ("panels/case_1.npz", "PK", "Panels that cannot be read: case_1.npz"),
        ("predictions/case_1.nii.gz", "x", "The prediction cannot be shown"),
        ("segmenter/history.json", "[]", "Segmenter: no epoch has ended yet."),
        ("metrics.csv", "split,output,case,slice,dice,iou,hd95_px,hd95_mm\n", "metrics.csv holds no scores"),
    ],
)
def test_damaged_parts_are_named(run: Path, part: str, content: str, message: str) -> None:
    (run / part).write_text(content)
    page = page_of(run)
    assert message in page.words
    assert "case_2" in page.words


def test_what_all_cases_lack_is_said_once(run: Path) -> None:
    message = "No prediction: the step predict writes it."
    (run / "predictions" / "case_1.nii.gz").unlink()
    assert page_of(run).words.count(message) == 1
    shutil.rmtree(run / "predictions")
    page = page_of(run)
    assert page.words.count(message) == 1
    assert {"class": "note"} in page.all("p")


def test_empty_folder_gives_a_page(tmp_path: Path) -> None:
    page = page_of(tmp_path)
    assert "dataset_check.json is missing" in page.words
    assert not (tmp_path / "contact_sheet.png").exists()


def test_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Expected the folder of a run, found none at .*none"):
        write_report(tmp_path / "none")


def test_method_without_maps_and_seeds_has_fewer_columns(run: Path) -> None:
    for case in ("case_1", "case_2"):
        save_panel(run, make_panel(case, layers=(), arrays={"cam": make_panel().arrays["cam"]}))
    headings = [list(row.cells) for row in sheet_rows(read_run(run))]
    assert headings == [["Image", "Fused map", "Prediction"]] * 2


def test_method_that_thresholds_its_map_has_a_pseudo_mask_and_no_segmenter(run: Path) -> None:
    panel = make_panel()
    arrays = {"cam": panel.arrays["cam"], "mask": panel.arrays["cam"] > 0.5}
    for case in ("case_1", "case_2"):
        save_panel(run, make_panel(case, layers=(), arrays=arrays))
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest["config"]["segment"]
    write_json(manifest, run / "manifest.json")
    content = read_run(run)
    assert [list(row.cells) for row in sheet_rows(content)] == [["Image", "Fused map", "Pseudo-mask", "Prediction"]] * 2
    assert list(content.histories) == ["classifier"]
    page = page_of(run)
    assert "Segmenter" not in page.words
    assert "foreground seed" not in page.words
    assert "Maps: 0  1" in page.words
    assert "pseudo-mask, prediction" in page.words


def test_run_that_trains_nothing_says_so(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    write_json(manifest | {"config": {"predict": {}}}, run / "manifest.json")
    assert "This run trains no network." in page_of(run).words


def test_curves_of_a_shared_classifier_are_found(run: Path, tmp_path: Path) -> None:
    (run / "classifier").rename(tmp_path / "shared")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["stages"]["classify"]["folder"] = str(tmp_path / "shared")
    write_json(manifest, run / "manifest.json")
    history = read_run(run).histories["classifier"].content
    assert history is not None
    assert history[1]["accuracy"] == 0.9


def test_panels_of_shared_pseudo_labels_are_found(run: Path, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (run / "panels").rename(tmp_path / "shared/panels")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["stages"]["pseudo_label"] = {"status": "done", "folder": str(tmp_path / "shared")}
    write_json(manifest, run / "manifest.json")
    assert len(read_run(run).panels.content or []) == 2


def test_predictions_that_find_nothing_are_named(run: Path) -> None:
    assert "find nothing" not in page_of(run).words
    metrics = run / "metrics.csv"
    metrics.write_text(metrics.read_text().replace("test,prediction,case_2,,0.75", "test,prediction,case_2,,0.0"))
    words = page_of(run).words
    assert (
        words.count("Warning: the predictions of umcam+spl find nothing: their mean Dice is 0.0 % over the 1 test") == 1
    )
    assert "validation volumes that show" not in words


def test_pooled_scores_have_a_table_of_their_own(run: Path) -> None:
    assert "mIoU" not in page_of(run).words
    names = "split,output,images,miou,dice,f1,precision,recall,object_dice,object_f1"
    (run / "pooled_metrics.csv").write_text(f"{names}\ntest,prediction,2,0.625,0.75,0.7,0.7,0.7,,0.5\n")
    words = " ".join(page_of(run).words.split())
    assert "mIoU (%)Dice (%)F1 (%)Object Dice (%)Object F1 (%)" in words.replace(") ", ")")
    assert "62.575.070.0-50.0" in words.replace(" ", "")


# ------------------------------------------------------------------ atomic


def test_failure_keeps_the_earlier_files(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_half(path: Path, *_: Any, **__: Any) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left")

    write_report(run)
    before = {name: (run / name).read_bytes() for name in ("report.html", "contact_sheet.png")}
    for owner, method in ((Path, "write_text"), (Image.Image, "save")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, method, write_half if owner is Path else lambda _, path: write_half(path))
            patch.setattr(sheet_section, "data_uri", lambda _: "data:,")
            with pytest.raises(OSError, match="no space left"):
                write_report(run)
        assert {name: (run / name).read_bytes() for name in before} == before
    assert not list(run.glob(".part-*"))


def test_half_written_panel_is_passed_over(run: Path) -> None:
    (run / "panels" / ".part-abc-case_3.npz").write_bytes(b"PK")
    panels = read_run(run).panels
    assert panels.note == ""
    assert len(panels.content or []) == 2
