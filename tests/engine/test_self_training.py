from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from camtools.engine import NetworkTrainer, SelfTraining, VolumePipeline
from tests.self_training_runs import Level, self_training


class Killed(BaseException):
    """Stands for kill -9."""


def history(folder: Path) -> list[dict[str, float]]:
    return json.loads((folder / "self_training/history.json").read_text())


def level(path: Path) -> float:
    return float(torch.load(path, weights_only=True)["level"])


def labels(folder: Path, number: int) -> list[np.ndarray]:
    paths = sorted((folder / f"self_training/round-{number}/labels").rglob("*_mask.nii.gz"))
    return [np.asarray(nib.load(path).dataobj) for path in paths]


def larger(data: dict[str, Any]) -> dict[str, Any]:
    """Probabilities of a larger object."""
    foreground = data["pred"][1:] ** 0.2
    return data | {"pred": torch.cat([1 - foreground, foreground])}


def test_best_round_gives_the_weights(blob_dataset: Path, tmp_path: Path) -> None:
    self_training(blob_dataset, tmp_path, export_path=tmp_path / "models/model.pt", steps=[larger]).run()
    rows = history(tmp_path)
    assert [row["round"] for row in rows] == [0, 1, 2]
    best = max(range(3), key=lambda number: rows[number]["dice"])
    assert best > 0
    expected = level(tmp_path / f"self_training/round-{best}/model.pt")
    assert level(tmp_path / "self_training/model.pt") == level(tmp_path / "models/model.pt") == expected
    for number in (1, 2):
        scores = json.loads((tmp_path / f"self_training/round-{number}/history.json").read_text())
        assert rows[number]["dice"] == max(row["dice"] for row in scores)


def test_first_segmenter_is_kept_when_no_round_is_better(blob_dataset: Path, tmp_path: Path) -> None:
    rounds = self_training(blob_dataset, tmp_path, start=0.55)
    rounds.training.optimizer = lambda params: torch.optim.SGD(params, lr=0.0)
    rounds.run()
    rows = history(tmp_path)
    assert rows[0]["dice"] == rows[1]["dice"] == rows[2]["dice"] > 0.9
    assert level(tmp_path / "self_training/model.pt") == level(tmp_path / "start.pt")


def test_labels_of_a_round(blob_dataset: Path, tmp_path: Path) -> None:
    self_training(blob_dataset, tmp_path, rounds=1, start=0.8, ignore_band=0.2).run()
    for found, path in zip(labels(tmp_path, 1), sorted((blob_dataset / "images").glob("*.nii.gz")), strict=False):
        image = nib.load(path).get_fdata()
        odds = 20 * ((image - image.min()) / (image.max() - image.min()) - 0.8)
        shares = 1 / (1 + np.exp(-odds))
        expected = np.where(abs(shares - 0.5) <= 0.2, 255, shares > 0.5)
        expected[..., [0, 1, 4, 5]] = 0
        assert set(np.unique(found)) == {0, 1, 255}
        assert (found != expected).mean() < 1e-3  # rounding at the limits of the band


def test_positive_slices_that_come_out_empty_keep_their_label(blob_dataset: Path, tmp_path: Path) -> None:
    rounds = self_training(blob_dataset, tmp_path, rounds=2, start=2.0)
    rounds.training.optimizer = lambda params: torch.optim.SGD(params, lr=0.0)
    rounds.run()
    first = [np.asarray(nib.load(path).dataobj) for path in sorted((tmp_path / "labels").rglob("*_mask.nii.gz"))]
    for number in (1, 2):
        for before, after in zip(first, labels(tmp_path, number), strict=True):
            assert after[..., 2:4].any()
            np.testing.assert_array_equal(after[..., 2:4], before[..., 2:4])


def test_steps_change_the_probabilities(blob_dataset: Path, tmp_path: Path) -> None:
    def turned(data: dict[str, Any]) -> dict[str, Any]:
        return data | {"pred": data["pred"].flip(0)}

    for name, steps in (("plain", []), ("turned", [turned])):
        self_training(blob_dataset, tmp_path / name, rounds=1, start=0.6, steps=steps).run()
    for plain, other in zip(labels(tmp_path / "plain", 1), labels(tmp_path / "turned", 1), strict=True):
        np.testing.assert_array_equal(plain[..., 2:4], 1 - other[..., 2:4])


def test_without_validation_the_last_round_wins(blob_dataset: Path, tmp_path: Path) -> None:
    self_training(blob_dataset, tmp_path, validated=False).run()
    assert history(tmp_path) == [{"round": 0}, {"round": 1}, {"round": 2}]
    assert level(tmp_path / "self_training/model.pt") == level(tmp_path / "self_training/round-2/model.pt")


def test_no_rounds_copy_the_segmenter(blob_dataset: Path, tmp_path: Path) -> None:
    self_training(blob_dataset, tmp_path, rounds=0).run()
    assert level(tmp_path / "self_training/model.pt") == level(tmp_path / "start.pt")
    assert not list((tmp_path / "self_training").glob("round-*"))


def test_patience_ends_the_rounds(blob_dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rounds = self_training(blob_dataset, tmp_path, rounds=5, start=0.55, patience=2)
    rounds.training.optimizer = lambda params: torch.optim.SGD(params, lr=0.0)
    with caplog.at_level(logging.INFO, "camtools"):
        rounds.run()
    assert [row["round"] for row in history(tmp_path)] == [0, 1, 2]
    assert "self_train: ends, no better dice in 2 rounds" in caplog.text


def test_rounds_from_the_start_or_from_the_round_before(blob_dataset: Path, tmp_path: Path) -> None:
    levels: dict[str, list[float]] = {"before": [], "new": []}
    for name, network in (("before", None), ("new", lambda: Level(0.8))):
        rounds = self_training(blob_dataset, tmp_path / name, new_network=network)
        make = rounds.training.trainer

        def noted(weights: Path, name: str = name, make: Any = make, **rest: Any) -> NetworkTrainer:
            levels[name.split(":")[0]].append(level(weights))
            return make(weights=weights, **rest)

        rounds.training.trainer = lambda name, noted=noted, key=name, **rest: noted(name=key, **rest)
        rounds.run()
    assert levels["new"] == pytest.approx([0.8, 0.8])
    assert levels["before"][0] == pytest.approx(0.9)
    assert levels["before"][1] == level(tmp_path / "before/self_training/round-1/model.pt")


@pytest.mark.parametrize("moment", ["relabel", "train", "after training", "choose"])
def test_killed_run_ends_with_the_same_weights(
    blob_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    self_training(blob_dataset, tmp_path / "whole").run()
    calls = {"count": 0}

    def kill_at(call: int, original: Any) -> Any:
        def run(*args: Any, **kwargs: Any) -> Any:
            calls["count"] += 1
            if calls["count"] == call:
                raise Killed
            return original(*args, **kwargs)

        return run

    places = {
        "relabel": (VolumePipeline, "_process", 5),  # the second volume of the second round
        "train": (NetworkTrainer, "_finish_epoch", 4),
        "after training": (SelfTraining, "_add", 3),
        "choose": (SelfTraining, "_choose", 1),
    }
    owner, name, call = places[moment]
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, kill_at(call, getattr(owner, name)))
        with pytest.raises(Killed):
            self_training(blob_dataset, tmp_path / "parts").run()
    assert not (tmp_path / "parts/self_training/model.pt").exists()
    self_training(blob_dataset, tmp_path / "parts").run()
    assert history(tmp_path / "parts") == history(tmp_path / "whole")
    for file in ("model.pt", "round-1/model.pt", "round-2/model.pt"):
        assert level(tmp_path / "parts/self_training" / file) == level(tmp_path / "whole/self_training" / file)
    for whole, parts in zip(labels(tmp_path / "whole", 2), labels(tmp_path / "parts", 2), strict=True):
        np.testing.assert_array_equal(whole, parts)


def test_missing_weights_of_the_first_segmenter(blob_dataset: Path, tmp_path: Path) -> None:
    rounds = self_training(blob_dataset, tmp_path)
    (tmp_path / "start.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"self_train: expected trained weights at .*start.pt, found no such"):
        rounds.run()


def test_wrong_numbers_of_rounds(blob_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected rounds of at least 0, found -1. Give 0 for no self-training."):
        self_training(blob_dataset, tmp_path, rounds=-1)
    with pytest.raises(ValueError, match=r"Expected patience to be .* found 0 with them. Correct patience"):
        self_training(blob_dataset, tmp_path, patience=0)
    with pytest.raises(ValueError, match=r"found 1 without them. Correct patience, or add validation masks."):
        self_training(blob_dataset, tmp_path, validated=False, patience=1)
