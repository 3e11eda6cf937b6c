"""Files and tables of a tuning."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from camtools.tuning import MaskChoice, Tuning, TuningSettings, format_tuning, read_choice, search_masks, write_tuning
from camtools.tuning.outputs import FILES
from camtools.tuning.statistics import mean_interval
from camtools.tuning.words import describe, shown_candidates
from tests.tuning.spools import MAPS, slices_of, spooled

SETTINGS = TuningSettings(
    methods=["layercam", "gradcam"], thresholds=[0.2, 0.5], refinements=[{"refinement": "geodesic", "margin": 5}],
    steps=[0.0], maps=1, finalists=1, sample=3, resamples=60,
)  # fmt: skip


@pytest.fixture(scope="module")
def tuning() -> Tuning:
    made = {name: slices_of(name, 2, seed) for seed, name in enumerate("abc")}
    maps = [*MAPS[:3], replace(MAPS[3], mirrored=True)]
    search = search_masks(spooled(made), maps, SETTINGS, torch.device("cpu"))
    return Tuning(search.choice, SETTINGS, search.table.keys, maps, [0.4, 0.1, 0.2, 0.3], search)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as handle:
        return list(csv.DictReader(handle))


def test_files_hold_the_scores(tmp_path: Path, tuning: Tuning) -> None:
    folder = tmp_path / "run/tuning"
    write_tuning(tuning, folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert read_choice(folder / "choice.json") == tuning.choice
    assert yaml.safe_load((folder / "tuned.yaml").read_text()) == {"choice": str(folder / "choice.json")}
    assert Image.open(folder / "tuning.png").width > 500
    search = tuning.search
    assert search is not None
    rows = rows_of(folder / "tuning.csv")
    assert len(rows) == len(search.table.choices)
    assert [int(row["rank"]) for row in rows] == list(range(1, len(rows) + 1))
    finalists = [row for row in rows if row["finalist"] == "1"]
    assert rows[: len(finalists)] == finalists
    scores = [float(row["dice_percent"]) for row in finalists]
    assert scores == sorted(scores, reverse=True)
    means, low, high = mean_interval(search.table.by_patient(), SETTINGS.resamples, SETTINGS.seed)
    for row in rows:
        number = next(
            k for k, one in enumerate(search.table.choices)
            if [one.method, " ".join(one.layers), str(one.threshold), one.refinement]
            == [row["method"], row["layers"], row["threshold"], row["refinement"]]
        )  # fmt: skip
        assert row["mirrored"] == str(int(search.table.choices[number].mirrored))
        for name, values in (("dice", means), ("low", low), ("high", high)):
            assert float(row[f"{name}_percent"]) == pytest.approx(100 * values[number], rel=1e-4)
        known = search.table.dice[~np.isnan(search.table.dice[:, number]), number]
        assert int(row["slices"]) == len(known)
        assert float(row["slice_dice_percent"]) == pytest.approx(100 * known.mean(), rel=1e-4)
    assert sorted(row["evidence"] for row in rows if row["evidence"]) == ["0.1", "0.2", "0.3", "0.4"]
    assert {row["mirrored"] for row in rows} == {"0", "1"}
    folds = rows_of(folder / "tuning_folds.csv")
    assert [row["left_out"] for row in folds] == ["a", "b", "c"]
    assert [row["mirrored"] for row in folds] == [
        str(int(search.table.choices[fold.chosen].mirrored)) for fold in search.folds
    ]
    assert float(folds[0]["dice_percent"]) == pytest.approx(100 * search.folds[0].scores[0], rel=1e-4)


def test_the_choice_is_written_last(tmp_path: Path, tuning: Tuning, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("camtools.tuning.outputs.write_choice", killed)
    with pytest.raises(KeyboardInterrupt):
        write_tuning(tuning, tmp_path)
    assert not (tmp_path / "choice.json").exists()
    assert not list(tmp_path.glob("*.partial"))


def test_intervals_are_drawn_once(tmp_path: Path, tuning: Tuning, monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn_again(*arguments: object) -> None:
        raise AssertionError("the search has drawn the bootstrap samples already")

    monkeypatch.setattr("camtools.tuning.statistics._draws", drawn_again)
    write_tuning(tuning, tmp_path)
    assert "(95% interval)" in format_tuning(tuning)


def test_the_table_says_how_sure_the_winner_is(tuning: Tuning) -> None:
    search = tuning.search
    assert search is not None
    text = format_tuning(tuning)
    assert f"| {describe(tuning.choice)} **(chosen)** |" in text
    assert f"{len(search.table.choices)} candidates on 6 slices of 3 patients" in text
    assert f"(3 folds): the choice of the other patients scores {100 * search.cross_validated:.1f} on those" in text
    assert f"its rank correlation with Dice is {tuning.agreement:.2f} over 4 maps" in text
    assert "1: the same order; 0: no relation; -1: the opposite order." in text
    assert text.endswith(f"Chosen: {describe(tuning.choice)}.")
    assert len(shown_candidates(search)) <= 13


def test_noise_is_named(tuning: Tuning) -> None:
    search = tuning.search
    assert search is not None
    first, second = shown_candidates(search)[:2]
    made = replace(search.decision, best=first, runner_up=second, lead=0.01, interval=(-0.02, 0.03))
    for chosen, expected in [
        (second, "A simpler candidate is chosen, which may be as good as"),
        (first, "No simpler candidate is as good within 1 points."),
    ]:
        noisy = replace(tuning, search=replace(search, decision=replace(made, chosen=chosen)))
        text = format_tuning(noisy)
        assert "by 1.0 points (-2.0 to 3.0), which is within noise for these patients." in text
        assert "Warning: the best leads" in text
        assert expected in text
    sure = replace(tuning, search=replace(search, decision=replace(made, interval=(0.005, 0.02))))
    assert "by 1.0 points (0.5 to 2.0)." in format_tuning(sure)
    assert "Warning" not in format_tuning(sure)
    alone = replace(tuning, search=replace(search, folds=()))
    assert "Cross-validation needs 3 patients or more" in format_tuning(alone)


def test_without_masks_maps_are_ranked_by_evidence(tmp_path: Path, tuning: Tuning) -> None:
    blind = replace(tuning, search=None)
    write_tuning(blind, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["choice.json", "tuned.yaml", "tuning.csv"]
    rows = rows_of(tmp_path / "tuning.csv")
    assert [row["evidence"] for row in rows] == ["0.4", "0.3", "0.2", "0.1"]
    assert rows[1]["method"] == "gradcam"
    assert [row["mirrored"] for row in rows] == ["0", "1", "0", "0"]
    assert {row["dice_percent"] for row in rows} == {""}
    text = format_tuning(blind)
    assert text.index("| 0.400 |") < text.index("| 0.100 |")
    assert "No masks: evidence ranks the maps (0 to 1). It does not choose, and its order may be wrong: see" in text
    empty = replace(blind, evidence=[], maps=[])
    write_tuning(empty, tmp_path)
    assert rows_of(tmp_path / "tuning.csv") == []
    assert format_tuning(empty) == f"Chosen: {describe(tuning.choice)}."


def test_choices_in_words() -> None:
    lt = MaskChoice("ltgradcam", ("b1", "b2"), "layer_sum", "otsu", options={"percentile": 20})
    assert describe(lt) == "ltgradcam percentile 20 of b1 and b2 (layer_sum), threshold otsu"
    crf = MaskChoice("fullgrad", threshold=0.3, refinement="crf", parameters={"bilateral_sxy": 20})
    assert describe(crf) == "fullgrad, threshold 0.3, crf bilateral_sxy 20"
