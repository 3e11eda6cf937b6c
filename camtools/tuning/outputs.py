"""What a tuning writes and prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from camtools.data.files import atomic_path
from camtools.scores.tables import markdown_table, write_csv
from camtools.tuning.choice import MaskChoice, write_choice
from camtools.tuning.plot import write_tuning_plot
from camtools.tuning.search import SearchResult
from camtools.tuning.tuning import Tuning
from camtools.tuning.words import SHOWN, describe, numbers, shown_candidates

__all__ = ["FILES", "format_tuning", "write_tuning"]

FILES = ("choice.json", "tuned.yaml", "tuning.csv", "tuning_folds.csv", "tuning.png")
"""Names of the files of a tuning; the last two are not written without masks."""

MAP_COLUMNS = ("method", "options", "layers", "fusion", "mirrored", "scales")
CHOICE_COLUMNS = (*MAP_COLUMNS, "threshold", "refinement", "parameters")
SCORE_COLUMNS = ("dice_percent", "low_percent", "high_percent", "slice_dice_percent", "evidence")


def write_tuning(tuning: Tuning, folder: str | Path) -> None:
    """Write the files of a tuning, each atomically; the choice last, so that it stands for a finished tuning.

    ``tuning.csv``: a line for each candidate, best first, in %. ``dice_percent`` is the mean over patients with its 95%
    interval, ``slice_dice_percent`` the mean over slices, ``slices`` how many were scored (a sample, or all),
    ``finalist`` 1 where all were, ``mirrored`` 1 where maps are averaged over the slice and its mirror images,
    ``scales`` the sizes of the slice over which they are averaged.
    ``tuning_folds.csv``: a line for each fold of the cross-validation. ``choice.json``:
    :class:`camtools.tuning.MaskChoice`. ``tuned.yaml``: an overlay that sets the knob ``choice`` to the path of
    ``choice.json``. ``tuning.png``: the best candidates of each kind.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    evidence = {repr(one): value for one, value in zip(tuning.maps, tuning.evidence, strict=False)}
    header = ["rank", *CHOICE_COLUMNS, "slices", "finalist", *SCORE_COLUMNS]
    if tuning.search is None:
        order = sorted(range(len(tuning.evidence)), key=lambda number: -tuning.evidence[number])
        rows = [[*_cells(tuning.maps[k]), 0, 0, None, None, None, None, tuning.evidence[k]] for k in order]
    else:
        rows = _scored_rows(tuning.search, evidence)
        _write_folds(tuning.search, folder / "tuning_folds.csv")
        write_tuning_plot(tuning.search, folder / "tuning.png")
    write_csv(folder / "tuning.csv", header, [[rank, *row] for rank, row in enumerate(rows, start=1)])
    with atomic_path(folder / "tuned.yaml") as temporary:
        place = str((folder / "choice.json").resolve())
        temporary.write_text(yaml.safe_dump({"choice": place}, width=1000), encoding="utf-8")
    write_choice(tuning.choice, folder / "choice.json")


def format_tuning(tuning: Tuning) -> str:
    """Markdown tables of the best candidates, how sure the winner is, and what was chosen."""
    parts = [_evidence_table(tuning)] if tuning.search is None else _search_parts(tuning.search, tuning)
    parts.append(f"Chosen: {describe(tuning.choice)}.")
    return "\n\n".join(part for part in parts if part)


def _search_parts(search: SearchResult, tuning: Tuning) -> list[str]:
    table, decision = search.table, search.decision
    means, low, high = search.intervals
    rows = []
    for number in shown_candidates(search):
        mark = " **(chosen)**" if number == decision.chosen else ""
        interval = f"{100 * means[number]:.1f} ({100 * low[number]:.1f} to {100 * high[number]:.1f})"
        rows.append([describe(table.choices[number]) + mark, interval, f"{100 * table.dice[:, number].mean():.1f}"])
    titles = ["Mask", "Dice over patients (95% interval), %", "Dice over slices, %"]
    note = (
        f"{len(table.choices)} candidates on {len(table.keys)} slices of {len(table.patients)} patients; the best of "
        "each kind is shown. These Dice are of the slices that chose: expect less elsewhere."
    )
    return [markdown_table(titles, rows), note, _lead(search, tuning), _cross_validation(search), _agreement(tuning)]


def _lead(search: SearchResult, tuning: Tuning) -> str:
    decision, choices = search.decision, search.table.choices
    if decision.runner_up is None:
        return ""
    low, high = decision.interval
    lead = f"{100 * decision.lead:.1f} points ({100 * low:.1f} to {100 * high:.1f})"
    second = describe(choices[decision.runner_up])
    if not decision.within_noise:
        return f"The best leads {second} by {lead}."
    text = f"Warning: the best leads {second} by {lead}, which is within noise for these patients."
    if decision.chosen == decision.best:
        return f"{text} No simpler candidate is as good within {100 * tuning.settings.tolerance:g} points."
    return f"{text} A simpler candidate is chosen, which may be as good as {describe(choices[decision.best])}."


def _cross_validation(search: SearchResult) -> str:
    if search.cross_validated is None:
        return "Cross-validation needs 3 patients or more: nothing says what this choice is worth on other patients."
    plain = search.table.by_patient()[:, search.decision.chosen].mean()
    same = sum(fold.chosen == search.decision.chosen for fold in search.folds)
    return (
        f"Cross-validation over patients ({len(search.folds)} folds): the choice of the other patients scores "
        f"{100 * search.cross_validated:.1f} on those left out, beside {100 * plain:.1f} for the plain score. "
        f"{same} of {len(search.folds)} folds choose the same candidate."
    )


def _agreement(tuning: Tuning) -> str:
    if tuning.agreement is None:
        return ""
    return (
        "Without masks, maps would be ranked by evidence: its rank correlation with Dice is "
        f"{tuning.agreement:.2f} over {len(tuning.maps)} maps (Otsu's threshold). 1: the same order; 0: no relation; "
        "-1: the opposite order."
    )


def _evidence_table(tuning: Tuning) -> str:
    if not tuning.evidence:
        return ""
    order = sorted(range(len(tuning.maps)), key=lambda number: -tuning.evidence[number])[:SHOWN]
    rows = [[describe(tuning.maps[number]), f"{tuning.evidence[number]:.3f}"] for number in order]
    note = (
        "No masks: evidence ranks the maps (0 to 1). It does not choose, and its order may be wrong: see "
        "docs/how_to_tune.md."
    )
    return f"{markdown_table(['Mask', 'Evidence'], rows)}\n\n{note}"


def _scored_rows(search: SearchResult, evidence: dict[str, float]) -> list[list[Any]]:
    table = search.table
    means, low, high = search.intervals
    dice, finalists = table.dice, set(search.finalists)
    order = sorted(range(len(table.choices)), key=lambda number: (number not in finalists, -means[number], number))
    rows = []
    for number in order:
        known = dice[~np.isnan(dice[:, number]), number]
        spread = [100 * float(values[number]) for values in (means, low, high)]
        scores = [*spread, 100 * float(known.mean()), evidence.get(repr(table.choices[number]))]
        rows.append([*_cells(table.choices[number]), len(known), int(number in finalists), *scores])
    return rows


def _write_folds(search: SearchResult, path: Path) -> None:
    header = ["left_out", "patients", "seen_dice_percent", "dice_percent", *CHOICE_COLUMNS]
    rows = []
    for fold in search.folds:
        scores = [len(fold.scores), 100 * fold.seen, 100 * float(np.mean(fold.scores))]
        rows.append([" ".join(fold.left_out), *scores, *_cells(search.table.choices[fold.chosen])])
    write_csv(path, header, rows)


def _cells(choice: MaskChoice) -> list[Any]:
    texts = [json.dumps(values) if values else "" for values in (choice.options, choice.parameters)]
    made = [choice.method, texts[0], " ".join(choice.layers), choice.fusion, int(choice.mirrored)]
    return [*made, numbers(choice.scales), choice.threshold, choice.refinement, texts[1]]
