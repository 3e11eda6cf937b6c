"""The contact sheet: one row per case, one column per step of the method, on the page and as one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.font_manager import findfont
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from camtools.data.case_names import output_file
from camtools.data.files import atomic_path
from camtools.report.cells import BACKGROUND_COLOUR, CELL, FOREGROUND_COLOUR, colour_scale, draw_cells
from camtools.report.content import SPLITS, RunContent
from camtools.report.panels import Panel, mask_on_panel

__all__ = ["SheetRow", "sheet_headings", "sheet_rows", "write_sheet", "write_text"]

Colour = tuple[int, int, int]

LABEL_WIDTH, HEADER, GAP, FOOTER = 260, 40, 6, 48
LEGEND_WIDTH = 330
PAPER, INK = (18, 20, 24), (236, 238, 240)


@dataclass(frozen=True)
class SheetRow:
    """One case of the contact sheet.

    Attributes:
        case: name of the volume.
        split: its split; empty where the dataset check does not list it.
        slice_index: the slice shown.
        dice: Dice of the volume's prediction, 0..1; None where it was not scored.
        cells: column heading -> picture.
        notes: what could not be shown, and why.
    """

    case: str
    split: str
    slice_index: int
    dice: float | None
    cells: Mapping[str, Image.Image]
    notes: tuple[str, ...]

    @property
    def facts(self) -> list[str]:
        """What stands beside the pictures, under the name of the case."""
        dice = "" if self.dice is None else f"Dice {100 * self.dice:.1f} %"
        return [fact for fact in (self.split, f"slice {self.slice_index}", dice) if fact]


def sheet_rows(run: RunContent) -> list[SheetRow]:
    """Draw the rows of all panels of a run, by split and case.

    The prediction is ``predictions/<case>.nii.gz``, the truth :meth:`camtools.report.content.RunContent.truth_file`.
    """
    rows = [_row(run, panel) for panel in run.panels.content or []]
    return sorted(rows, key=lambda row: (SPLITS.index(row.split) if row.split in SPLITS else len(SPLITS), row.case))


def sheet_headings(rows: Sequence[SheetRow]) -> list[str]:
    """Headings of all columns in the order of the method's steps, the prediction last."""
    headings = dict.fromkeys(heading for row in rows for heading in row.cells)
    return sorted(headings, key=lambda heading: heading == "Prediction")


def write_sheet(rows: Sequence[SheetRow], path: str | Path, legend: Mapping[str, Colour] | None = None) -> None:
    """Write the contact sheet as one PNG, atomically.

    Args:
        rows: the cases.
        path: the PNG.
        legend: what the colours of outlines and seeds mean; None: as in a run's contact sheet.
    """
    headings = sheet_headings(rows)
    step = CELL + GAP
    row_step = GAP + max((cell.height for row in rows for cell in row.cells.values()), default=CELL)
    size = (LABEL_WIDTH + step * len(headings), HEADER + row_step * len(rows) + FOOTER)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, heading in enumerate(headings):
        write_text(draw, (LABEL_WIDTH + step * column, 12), heading, CELL, 18)
    for index, row in enumerate(rows):
        top = HEADER + row_step * index
        write_text(draw, (GAP, top), row.case, LABEL_WIDTH - 2 * GAP, 18)
        for line, fact in enumerate(row.facts, start=1):
            write_text(draw, (GAP, top + 26 * line), fact, LABEL_WIDTH - 2 * GAP, 16)
        for column, heading in enumerate(headings):
            if heading in row.cells:
                sheet.paste(row.cells[heading], (LABEL_WIDTH + step * column, top))
    _legend(sheet, draw, size[1] - FOOTER + 18, legend or _legend_of(headings))
    with atomic_path(path) as temporary:
        sheet.save(temporary)


def _row(run: RunContent, panel: Panel) -> SheetRow:
    split = str(run.dataset_row(panel.case).get("split", ""))
    notes = [note for note in [run.channels_note(panel.case)] if note]
    prediction = _mask(output_file(run.folder / "predictions", panel.case, ".nii.gz"), panel, "prediction", notes)
    truth_file = run.truth_file(panel.case)
    truth = None if truth_file is None else _mask(truth_file, panel, "mask", notes)
    if run.pseudo_masks is not None:
        panel = _with_pseudo_mask(panel, output_file(run.pseudo_masks, panel.case, "_mask.nii.gz"), notes)
    cells = draw_cells(panel, prediction, truth, run.is_photograph(panel.case))
    return SheetRow(panel.case, split, panel.slice_index, run.dice(panel.case), cells, tuple(notes))


def _with_pseudo_mask(panel: Panel, path: Path, notes: list[str]) -> Panel:
    """The panel with the pseudo-mask, and without the seed-derived label, from which this method does not learn."""
    unused = ("spl", "foreground_seeds", "background_seeds")
    arrays = {name: array for name, array in panel.arrays.items() if name not in unused}
    mask = _mask(path, panel, "pseudo-mask", notes)
    return replace(panel, arrays=arrays if mask is None else arrays | {"mask": mask})


def _mask(path: Path, panel: Panel, kind: str, notes: list[str]) -> NDArray[np.bool_] | None:
    if not path.is_file():
        steps = {"prediction": "predict", "pseudo-mask": "threshold"}
        why = f"the step {steps[kind]} writes it." if kind in steps else f"{path} is missing."
        notes.append(f"No {kind}: {why}")
        return None
    try:
        return mask_on_panel(path, panel)
    except (OSError, ValueError) as error:
        notes.append(f"The {kind} cannot be shown: {error}")
        return None


def write_text(draw: ImageDraw.ImageDraw, corner: tuple[int, int], text: str, width: int, size: int) -> None:
    """One line of text, cut to ``width`` pixels; ``corner`` is its upper left one."""
    font = ImageFont.truetype(findfont("DejaVu Sans"), size)
    if draw.textlength(text, font) > width:
        while text and draw.textlength(f"{text}…", font) > width:
            text = text[:-1]
        text = f"{text}…"
    draw.text(corner, text, fill=INK, font=font)


def _legend_of(headings: Sequence[str]) -> dict[str, Colour]:
    seeds = "Seeds" in headings
    red = ["background seed"] if seeds else ["pseudo-mask"] if "Pseudo-mask" in headings else []
    return {
        ", ".join(["foreground seed"] * seeds + ["truth"]): FOREGROUND_COLOUR,
        ", ".join([*red, "prediction"]): BACKGROUND_COLOUR,
    }


def _legend(sheet: Image.Image, draw: ImageDraw.ImageDraw, top: int, legend: Mapping[str, Colour]) -> None:
    scale = Image.fromarray(np.repeat(colour_scale(LABEL_WIDTH // 2)[None], 20, axis=0))
    write_text(draw, (GAP, top - 2), "maps: 0", LABEL_WIDTH, 18)
    sheet.paste(scale, (GAP + 80, top))
    write_text(draw, (GAP + 88 + scale.width, top - 2), "1", LABEL_WIDTH, 18)
    left = LABEL_WIDTH
    for text, colour in legend.items():
        draw.rectangle((left, top, left + 20, top + 20), fill=colour)
        write_text(draw, (left + 28, top - 2), text, sheet.width, 18)
        left += LEGEND_WIDTH
