"""Pictures of how activation maps score: a sheet of the maps on a few slices, and a plot of LTGrad-CAM's percentile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from camtools.data.file_kinds import is_photograph
from camtools.data.files import atomic_path
from camtools.report.cells import CELL, FOREGROUND_COLOUR, draw_outline, frame_cell, overlay_map, slice_picture
from camtools.report.panels import to_display
from camtools.report.sheet import PAPER, SheetRow, write_sheet, write_text
from camtools.scores.lt_sweep import PERCENTILES, LTSweep
from camtools.scores.map_scores import CamView

__all__ = ["write_cam_sheet", "write_lt_plot"]

MASK_COLOUR = (64, 208, 255)  # stands out on every colour of the maps
CAPTION = 30
CURVES = {"LTGradCAM": "tab:blue", "LTLayerCAM": "tab:green", "LTFullGrad": "tab:orange"}  # as in the paper


def write_cam_sheet(views: Sequence[CamView], split: str, path: str | Path) -> None:
    """Write the overlay sheet as one PNG, atomically.

    A row is a case; the columns are its image with the outline of the truth, and for every method the map in colour
    with the outline of its mask and the Dice of the slice.

    Args:
        views: rows, from :func:`camtools.scores.map_scores.evaluate_cams`.
        split: name of the split, written beside each row.
        path: the PNG.
    """
    rows = [SheetRow(view.case, split, view.slice_index, None, _cells(view), ()) for view in views]
    write_sheet(rows, path, legend={"truth": FOREGROUND_COLOUR, "mask of the map": MASK_COLOUR})


def write_lt_plot(sweep: LTSweep, path: str | Path) -> None:
    """Write IoU against percentile as a PNG, atomically: a curve per method, and a dashed line without truncation.

    Source: LTGrad-CAM (Dong et al., 2023), figures 4-5; the dashed lines are not in the paper.
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for method, at_percentiles in sweep.truncated.items():
        values = [100 * counts.iou for counts in at_percentiles]
        axes.plot(PERCENTILES, values, marker="o", color=CURVES[method], label=method)
        untruncated = 100 * sweep.untruncated[method].iou
        axes.axhline(
            untruncated, linestyle="--", color=CURVES[method], label=f"{method.removeprefix('LT')}, not truncated"
        )
    axes.set_xticks(PERCENTILES)
    axes.set_xlabel("percentile of the positive gradients below which they are dropped")
    axes.set_ylabel(f"mIoU (%), {sweep.split}")
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _cells(view: CamView) -> dict[str, Image.Image]:
    photograph = is_photograph(view.path)
    grey = slice_picture(to_display(view.image.numpy(), photograph))
    cells = {"Image": frame_cell(draw_outline(grey, to_display(view.truth.numpy(), photograph), FOREGROUND_COLOUR, 3))}
    for method, (values, mask, dice) in view.overlays.items():
        overlay = overlay_map(grey, to_display(values.numpy(), photograph))
        outlined = draw_outline(overlay, to_display(mask.numpy(), photograph), MASK_COLOUR, 3)
        cells[method] = _captioned(frame_cell(outlined), f"Dice {100 * dice:.1f} %")
    return cells


def _captioned(cell: Image.Image, text: str) -> Image.Image:
    captioned = Image.new("RGB", (CELL, CELL + CAPTION), PAPER)
    captioned.paste(cell)
    write_text(ImageDraw.Draw(captioned), (0, CELL + 4), text, CELL, 18)
    return captioned
