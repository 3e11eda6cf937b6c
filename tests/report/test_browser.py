"""The report in a real browser: skipped where there is no Chromium or no Playwright to drive it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from camtools.data.files import write_json
from camtools.report import write_report
from tests.browsers import chromium, wait_until
from tests.conftest import write_volume
from tests.report_runs import SHAPE, SLICE, corner_mask, make_run

RIGHT, FRONT = 18.5 / 24, 1 - 15.5 / 20  # middle of the mask, as shares of the picture's width and height


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two volumes, and a photograph and a long volume that were not scored."""
    run = make_run(tmp_path_factory.mktemp("browser") / "run")
    rng = np.random.default_rng(0)
    write_volume(run / "image.nii.gz", rng.normal(100, 30, SHAPE) + 200 * corner_mask())
    Image.fromarray(rng.integers(0, 255, (40, 60, 3), np.uint8)).save(run / "slide.png")
    rows = json.loads((run / "dataset_check.json").read_text())
    rows[1]["image"] = rows[2]["image"] = str(run / "image.nii.gz")
    rows.append({"split": "test", "case": "slide", "image": str(run / "slide.png")})
    long = write_volume(run / "long.nii.gz", rng.normal(100, 30, (24, 20, 60)))
    rows.append({"split": "external", "case": "long", "image": long})
    write_json(rows, run / "dataset_check.json")
    return write_report(run)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


class Reader:
    """Somebody who reads the page and notes what goes wrong."""

    def __init__(self, page: Any, address: str) -> None:
        self.page = page
        self.errors: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.errors.append(message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url.split(":")[0]))
        page.goto(address)
        wait_until(lambda: page.get_attribute("#picture", "aria-label"), what="the first picture")

    @property
    def label(self) -> str:
        """What a screen reader says about the picture; it follows the drawing."""
        return str(self.page.get_attribute("#picture", "aria-label"))

    def act(self, action: Callable[[], Any]) -> str:
        """Do something to the picture and wait until it is drawn."""
        before = self.label
        action()
        wait_until(lambda: self.label != before, what="another picture")
        return self.label

    def pixels(self) -> np.ndarray:
        """Colours of the canvas, ``(rows, columns, 3)``."""
        source = self.page.evaluate("document.getElementById('picture').toDataURL()")
        content = base64.b64decode(source.split("base64,")[1])
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


@pytest.fixture
def reader(browser: Any, report: Path, request: pytest.FixtureRequest) -> Iterator[Reader]:
    """Opens the page, with the settings of the browser and the address' end that a test asks for."""
    settings = dict(getattr(request, "param", {}))
    end = settings.pop("end", "#view-2")  # case_1
    page = browser.new_page(reduced_motion="reduce", **settings)
    reader = Reader(page, report.as_uri() + end)
    yield reader
    assert reader.errors == []
    assert set(reader.requests) <= {"file", "data"}
    page.close()


def names_of(reader: Reader) -> list[str]:
    return [name.strip() for name in reader.page.locator("#scores table").last.locator("tbody th").all_inner_texts()]


@pytest.mark.parametrize("reader", [{"end": ""}], indirect=True)
def test_page_opens_with_the_first_case_and_without_errors(reader: Reader) -> None:
    assert reader.label == "case_2, Slice 5 of 6 (index 4), overlays: prediction, truth at 80 %"
    assert reader.page.inner_text("#state") == "Slice 5 of 6 (index 4)"
    assert reader.page.inner_text("#scores-of-case").startswith("test: Dice 75.0 %, HD95 3.00 mm")
    assert reader.pixels().std() > 10
    assert not reader.page.is_visible("noscript")


def test_slider_keys_and_wheel_scroll_through_the_slices(reader: Reader) -> None:
    page = reader.page
    first = reader.pixels()
    page.focus("#slice")
    assert "Slice 4 of 6" in reader.act(lambda: page.keyboard.press("ArrowLeft"))
    second = reader.pixels()
    assert np.abs(first - second).mean() > 10
    page.focus("#picture")
    assert "Slice 5 of 6" in reader.act(lambda: page.keyboard.press("ArrowUp"))
    assert np.array_equal(reader.pixels(), first), "the same slice again"
    assert "Slice 1 of 6" in reader.act(lambda: page.keyboard.press("Home"))
    assert "Slice 6 of 6" in reader.act(lambda: page.keyboard.press("End"))
    page.hover("#picture")
    place = page.evaluate("scrollY")
    assert "Slice 5 of 6" in reader.act(lambda: page.mouse.wheel(0, -100))
    assert np.array_equal(reader.pixels(), first)
    assert page.evaluate("scrollY") == place, "the page stays where it is"
    assert page.input_value("#slice") == "5"
    assert page.get_attribute("#slice", "aria-valuetext") == "Slice 5 of 6 (index 4)"


def test_wheel_beside_the_picture_scrolls_the_page(reader: Reader) -> None:
    place = reader.page.evaluate("scrollY")
    reader.page.hover("#viewer-help")
    reader.page.mouse.wheel(0, 120)
    wait_until(lambda: reader.page.evaluate("scrollY") > place, what="scrolling")
    assert "Slice 5 of 6" in reader.label


@pytest.mark.parametrize("name", ["map", "pseudo_label", "prediction", "truth"])
def test_overlay_changes_the_pixels_where_the_mask_is(reader: Reader, name: str) -> None:
    page = reader.page
    for shown in ("prediction", "truth"):
        reader.act(lambda: page.uncheck(f"[value={shown}]"))  # noqa: B023
    plain = reader.pixels()
    assert np.ptp(plain, axis=-1).max() <= 2, "grey without overlays"
    reader.act(lambda: page.check(f"[value={name}]"))
    changed = np.abs(reader.pixels() - plain).sum(axis=-1) > 20
    rows, columns = np.nonzero(changed)
    shift = 1 / 24 if name == "prediction" else 0  # the prediction of these runs is moved by a pixel
    assert columns.mean() / changed.shape[1] == pytest.approx(RIGHT + shift, abs=0.05)
    assert rows.mean() / changed.shape[0] == pytest.approx(FRONT, abs=0.12)
    reader.act(lambda: page.uncheck(f"[value={name}]"))
    assert np.array_equal(reader.pixels(), plain)


def test_opacity(reader: Reader) -> None:
    page = reader.page
    full = reader.pixels()
    reader.act(lambda: page.fill("#opacity", "20"))
    faint = reader.pixels()
    reader.act(lambda: page.fill("#opacity", "0"))
    none = reader.pixels()
    assert page.inner_text("#opacity-value") == "0 %"
    assert np.abs(full - none).sum() > 2 * np.abs(faint - none).sum() > 0
    for name in ("prediction", "truth"):
        reader.act(lambda: page.uncheck(f"[value={name}]"))  # noqa: B023
    assert np.array_equal(reader.pixels(), none)


def test_digits_switch_overlays(reader: Reader) -> None:
    reader.page.focus("#picture")
    assert "overlays: map, prediction, truth" in reader.act(lambda: reader.page.keyboard.press("1"))
    assert "overlays: map, truth" in reader.act(lambda: reader.page.keyboard.press("3"))
    assert not reader.page.is_checked("[value=prediction]")


def test_marks_show_where_the_object_is(reader: Reader) -> None:
    marks = reader.page.locator("#marks i")
    shares = [mark.evaluate("mark => mark.style.getPropertyValue('--share')") for mark in marks.all()]
    assert shares == [str(SLICE / (SHAPE[2] - 1))] * 2
    # the thumb lies where the mark does
    slider, mark = reader.page.locator("#slice").bounding_box(), marks.first.bounding_box()
    thumb = slider["x"] + 8 + (slider["width"] - 16) * SLICE / (SHAPE[2] - 1)
    assert mark["x"] + mark["width"] / 2 == pytest.approx(thumb, abs=1.5)


def test_cases_are_chosen_by_list_buttons_and_links(reader: Reader) -> None:
    page = reader.page
    assert reader.label.startswith("case_1")
    assert reader.act(lambda: page.click("#next")).startswith("long")
    assert reader.act(lambda: page.click("#next")).startswith("case_2"), "from the last to the first"
    assert reader.act(lambda: page.click("#previous")).startswith("long")
    assert reader.act(lambda: page.click("#next")).startswith("case_2")
    assert page.url.endswith("#view-0")
    assert reader.act(lambda: page.select_option("#case", "2")).startswith("case_1")
    page.focus("#extremes li:last-child a >> nth=-1")
    assert reader.act(lambda: page.keyboard.press("Enter")).startswith("case_2")
    assert page.evaluate("document.activeElement.id") == "picture"
    assert reader.act(lambda: page.click("#scores a:has-text('case_1')")).startswith("case_1")
    assert reader.act(page.go_back).startswith("case_2")


def test_photograph_has_no_slices(reader: Reader) -> None:
    label = reader.act(lambda: reader.page.select_option("#case", "1"))
    assert label == "slide, One image, no overlays"
    assert not reader.page.is_visible("#slice")
    assert reader.page.is_disabled("[value=truth]")
    place = reader.page.evaluate("scrollY")
    reader.page.hover("#picture")
    reader.page.mouse.wheel(0, 120)
    wait_until(lambda: reader.page.evaluate("scrollY") > place, what="scrolling")


def test_slices_that_are_left_out_are_named(reader: Reader) -> None:
    assert not reader.page.is_visible("#case-notes")
    reader.act(lambda: reader.page.select_option("#case", "3"))
    assert reader.page.inner_text("#case-notes") == "36 of 60 slices are left out to keep the page small."
    reader.page.focus("#picture")
    label = reader.act(lambda: reader.page.keyboard.press("End"))
    assert label == "long, Slice 24 of 24 shown (index 59), no overlays"


@pytest.mark.parametrize("how", ["click", "Enter"])
def test_headings_sort(reader: Reader, how: str) -> None:
    heading = reader.page.locator("#scores table").last.locator("thead th", has_text="Dice (%)").first
    assert heading.get_attribute("aria-sort") == "ascending"
    assert names_of(reader) == ["case_1", "case_2"]
    button = heading.locator("button")
    button.click() if how == "click" else button.press(how)
    assert heading.get_attribute("aria-sort") == "descending"
    assert names_of(reader) == ["case_2", "case_1"]


def test_numbers_sort_as_numbers_and_unknown_ones_last(reader: Reader) -> None:
    page = reader.page
    page.evaluate(
        "() => { const t = [...document.querySelectorAll('#scores table')].pop(); const row = t.tBodies[0].rows[0];"
        "t.tBodies[0].replaceChildren(...['9.5', '-', '100.0', '20.0'].map((text) => { const r = row.cloneNode(true);"
        "r.cells[0].textContent = text; r.cells[2].textContent = text; return r; })); }"
    )
    button = page.locator("#scores table").last.locator("thead th button").nth(2)
    button.click()
    assert names_of(reader) == ["100.0", "20.0", "9.5", "-"]
    button.click()
    assert names_of(reader) == ["9.5", "20.0", "100.0", "-"]


@pytest.mark.parametrize("reader", [{"viewport": {"width": 360, "height": 740}, "has_touch": True}], indirect=True)
def test_phone(reader: Reader) -> None:
    page = reader.page
    assert page.evaluate("document.documentElement.scrollWidth") <= 360, "no scrolling sideways"
    picture, slider = page.locator("#picture").bounding_box(), page.locator("#slice").bounding_box()
    assert picture["width"] > 280
    assert slider["y"] > picture["y"] + picture["height"], "controls below the picture"
    for control in page.locator(".viewer button, .viewer select, .viewer fieldset label").all():
        assert control.bounding_box()["height"] >= 40, "large enough for a thumb"
    assert "Slice 2 of 6" in reader.act(
        lambda: page.tap("#slice", position={"x": 8 + (slider["width"] - 16) / 5, "y": 9})
    )


@pytest.mark.parametrize("reader", [{"color_scheme": "dark"}], indirect=True)
def test_dark(reader: Reader) -> None:
    shot = np.asarray(Image.open(io.BytesIO(reader.page.screenshot())).convert("L"))
    assert np.median(shot) < 60
