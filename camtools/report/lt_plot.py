"""The plot of the truncation percentile: how much of each map's gradients to drop."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from camtools.data.files import atomic_path
from camtools.scores.lt_sweep import PERCENTILES, LTSweep

__all__ = ["write_lt_plot"]

COLOURS = {"LTGradCAM": "tab:blue", "LTLayerCAM": "tab:green", "LTFullGrad": "tab:orange"}  # as in the paper


def write_lt_plot(sweep: LTSweep, path: str | Path) -> None:
    """Write IoU against percentile as a PNG, atomically: a curve a method, dashed where it is not truncated.

    Source: LTGrad-CAM (Dong et al., 2023), figures 4-5; the dashed lines are not in the paper.
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for method, at_percentiles in sweep.truncated.items():
        values = [100 * counts.iou for counts in at_percentiles]
        axes.plot(PERCENTILES, values, marker="o", color=COLOURS[method], label=method)
        untruncated = 100 * sweep.untruncated[method].iou
        axes.axhline(
            untruncated, linestyle="--", color=COLOURS[method], label=f"{method.removeprefix('LT')}, not truncated"
        )
    axes.set_xticks(PERCENTILES)
    axes.set_xlabel("percentile of the positive gradients below which they are dropped")
    axes.set_ylabel(f"mIoU (%), {sweep.split}")
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
