"""The best candidates of a tuning in one picture."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from camtools.data.files import atomic_path
from camtools.tuning.search import SearchResult
from camtools.tuning.words import describe, shown_candidates

__all__ = ["write_tuning_plot"]

LINE = 0.34  # inches


def write_tuning_plot(search: SearchResult, path: str | Path) -> None:
    """Write a PNG, atomically: Dice over patients of the best candidate of each kind, with its 95% interval.

    A dot is a patient. The dashed line is the cross-validated score of the whole choice.
    """
    by_patient = 100 * search.table.by_patient()
    means, low, high = [100 * values for values in search.intervals]
    shown = shown_candidates(search)
    figure = Figure(figsize=(11, 1.3 + LINE * len(shown)), layout="constrained")
    axes = figure.subplots()
    for line, number in enumerate(shown):
        colour = "tab:orange" if number == search.decision.chosen else "tab:blue"
        axes.plot(by_patient[:, number], [line] * len(by_patient), ".", color="lightgrey", zorder=1)
        axes.plot([low[number], high[number]], [line, line], color=colour, zorder=2)
        axes.plot(means[number], line, "o", color=colour, zorder=3)
    if search.cross_validated is not None:
        value = 100 * search.cross_validated
        axes.axvline(value, linestyle="--", color="tab:red")
        axes.set_title(f"cross-validated over patients: {value:.1f} (dashed)", fontsize=9)
    axes.set_yticks(range(len(shown)), [describe(search.table.choices[number]) for number in shown], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("Dice over patients, % (dots: patients; bars: 95% interval; orange: chosen)")
    axes.grid(axis="x", alpha=0.3)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
