"""Scores and a picture of finished runs, as on the page docs/accuracy.md.

    python benchmarks/accuracy.py RUN [RUN ...] [--split validation] [--picture FILE]

One row per run: the Dice of its predictions in 3D, mean and standard deviation over volumes; their Dice per positive
slice, over all slices of which the mask covers at least 0.1 %; the Dice of the pseudo-masks per positive slice, made
with the tags of their slices; and the hours that the stages took. The picture shows the worst, the median and the best
volume of the first run.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from monai.metrics import compute_dice
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from camtools.data.case_names import output_file
from camtools.data.volumes import read_volume
from camtools.report.case_slices import read_case
from camtools.report.content import RunContent, read_run
from camtools.report.overlays import draw_thumbnail
from camtools.report.sheet import PAPER, write_text
from camtools.scores.tables import markdown_table

MIN_AREA_FRACTION = 0.001
TITLES = ["run", "volumes", "Dice in 3D, %", "Dice per positive slice, %", "pseudo-masks per slice, %", "hours"]
CELL, CAPTION = 320, 30


def slices_of(path: Path, axis: int) -> NDArray[np.bool_]:
    """Mask ``(slices, pixels)``."""
    voxels = np.asarray(read_volume(path))
    return np.moveaxis(voxels.reshape(voxels.shape[-3:]) > 0.5, axis, 0).reshape(voxels.shape[-3:][axis], -1)


def slice_dice(run: RunContent, case: str) -> list[float]:
    """Dice of the prediction on each positive slice of a case."""
    row = run.dataset_row(case)
    axis = row.get("slice_axis", 2)  # an image has no other
    truth = slices_of(Path(row["label"]), axis)
    found = slices_of(output_file(run.folder / "predictions", case, ".nii.gz"), axis)
    positive = truth.mean(axis=1) > MIN_AREA_FRACTION
    masks = [torch.from_numpy(mask[positive, np.newaxis]).float() for mask in (found, truth)]
    return [float(dice) for dice in compute_dice(*masks)]


def hours(run: RunContent) -> float:
    stages = (run.manifest.content or {}).get("stages", {}).values()
    return sum(stage.get("seconds", 0) for stage in stages) / 3600


def row_of(run: RunContent, split: str) -> list[str]:
    rows = [row for row in run.metrics.content or [] if row.split == split]
    volumes = {row.case: 100 * row.scores.dice for row in rows if row.output == "prediction"}
    slices: list[float] = []
    for case in volumes:
        slices += slice_dice(run, case)
    pseudo = [100 * row.scores.dice for row in rows if row.output == "pseudo_mask"]
    return [
        run.folder.name,
        str(len(volumes)),
        f"{mean(volumes.values()):.1f} ± {stdev(volumes.values()):.1f}",
        f"{100 * mean(slices):.1f}",
        f"{mean(pseudo):.1f}" if pseudo else "",
        f"{hours(run):.2f}",
    ]


def picture(run: RunContent, split: str, path: Path) -> None:
    rows = [row for row in run.metrics.content or [] if row.split == split and row.output == "prediction"]
    ranked = sorted(rows, key=lambda row: row.scores.dice)
    chosen = {"worst": ranked[0], "median": ranked[(len(ranked) - 1) // 2], "best": ranked[-1]}
    cells = {name: draw_thumbnail(read_case(run, row.case)) for name, row in chosen.items()}
    for cell in cells.values():
        cell.thumbnail((CELL - 8, CELL - 8))
    bottom = max(cell.height for cell in cells.values()) + 8
    sheet = Image.new("RGB", (len(chosen) * CELL, bottom + CAPTION), PAPER)
    for number, (name, cell) in enumerate(cells.items()):
        sheet.paste(cell, (number * CELL + 4, 4))
        words = f"{name}: Dice {100 * chosen[name].scores.dice:.1f} %"
        write_text(ImageDraw.Draw(sheet), (number * CELL + 8, bottom), words, CELL - 16, 18)
    sheet.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--split", default="validation")
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    runs = [read_run(folder) for folder in options.runs]
    print(markdown_table(TITLES, [row_of(run, options.split) for run in runs]))
    if options.picture:
        picture(runs[0], options.split, options.picture)


if __name__ == "__main__":
    main()
