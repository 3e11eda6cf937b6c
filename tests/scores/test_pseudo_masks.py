"""Masks of maps at the searched threshold: the search, the rule without masks, tags, and what is written again."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from camtools.data import Splits
from camtools.engine import VolumesFailedError
from camtools.scores import Evaluation, PseudoMasks
from camtools.scores.metrics_csv import read_metrics
from camtools.thresholds import CANDIDATES, otsu
from tests.conftest import oblique_affine, write_volume
from tests.reference.thresholds import reference_search_dice

SHAPE = (12, 10, 4)
TAGS = [0, 1, 1, 0]


def make_case(folder: Path, name: str, seed: int, axis: int = 2, label: bool = True) -> dict[str, Any]:
    """A case with the object in slices 1 and 2, and a noisy map on every slice."""
    generator = np.random.RandomState(seed)
    mask = np.zeros(SHAPE, np.uint8)
    mask[2 : 6 + seed % 3, 2:8, 1:3] = 1
    cam = np.clip(0.35 * mask + 0.6 * generator.rand(*SHAPE), 0, 1).astype(np.float32)
    cam[0, 0] = 0.9  # on every slice, also on those tagged 0
    spacing = [1.0, 1.0, 1.0]
    spacing[axis] = 5.0
    for path, array in ((folder / f"{name}.nii.gz", mask), (folder / f"maps/{name}_cam.nii.gz", cam)):
        write_volume(path, np.moveaxis(array, 2, axis).copy(), oblique_affine(tuple(spacing)))
    item = {"image": str(folder / f"{name}.nii.gz"), "case": name, "slice_labels": TAGS}
    return item | ({"label": item["image"]} if label else {})


def make_splits(folder: Path, axis: int = 2, masks: bool = True) -> Splits:
    training = [make_case(folder, "train", 0, axis, label=False)]
    return Splits(training, [make_case(folder, f"val{seed}", seed, axis, masks) for seed in (1, 2)])


def values(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def slices(folder: Path, name: str, axis: int) -> torch.Tensor:
    """Slices ``(Z, 1, H, W)`` of a map or mask."""
    return torch.from_numpy(np.moveaxis(values(folder / name), axis, 0)).float()[:, None]


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.nii.gz")}


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_threshold_is_that_of_a_slow_search_over_positive_validation_slices(tmp_path: Path, axis: int) -> None:
    splits = make_splits(tmp_path, axis)
    PseudoMasks(splits, tmp_path / "maps", tmp_path / "masks").run()
    maps = torch.cat([slices(tmp_path, f"maps/val{seed}_cam.nii.gz", axis)[1:3] for seed in (1, 2)])
    truth = torch.cat([slices(tmp_path, f"val{seed}.nii.gz", axis)[1:3] for seed in (1, 2)])
    expected = reference_search_dice(maps, truth, list(CANDIDATES))
    assert 0.3 < expected < 0.7
    record = json.loads((tmp_path / "masks/threshold.json").read_text())
    assert record["threshold"] == expected
    assert record["validation_volumes"] == 2
    assert max(record["mean_dice"], key=record["mean_dice"].get) == f"{expected:.2f}"
    for name in ("train", "val1", "val2"):
        mask = nib.load(tmp_path / f"masks/{name}_mask.nii.gz")
        cam = nib.load(tmp_path / f"maps/{name}_cam.nii.gz")
        assert mask.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(mask.affine, cam.affine)
        written = slices(tmp_path, f"masks/{name}_mask.nii.gz", axis)
        above = slices(tmp_path, f"maps/{name}_cam.nii.gz", axis) > expected
        assert torch.equal(written[1:3] > 0, above[1:3])
        assert not written[[0, 3]].any(), "slices tagged 0"


def test_scores_are_those_of_a_search_at_the_end(tmp_path: Path) -> None:
    splits = make_splits(tmp_path)
    for item in splits.scored:
        write_volume(tmp_path / f"predictions/{item['case']}.nii.gz", np.zeros(SHAPE, np.uint8))
    PseudoMasks(splits, tmp_path / "maps", tmp_path / "masks").run()
    places = {"prediction_dir": tmp_path / "predictions", "output_dir": tmp_path}
    Evaluation(splits, **places, pseudo_label_dir=tmp_path / "masks", pseudo_masks="written").run()
    written = read_metrics(tmp_path / "metrics.csv")
    Evaluation(splits, **places, pseudo_label_dir=tmp_path / "maps").run()
    assert written == read_metrics(tmp_path / "metrics.csv")
    assert len([row for row in written if row.output == "pseudo_mask"]) == 4


def test_without_validation_masks_each_slice_has_its_threshold(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    splits = make_splits(tmp_path, masks=False)
    with caplog.at_level(logging.WARNING, logger="camtools"):
        PseudoMasks(splits, tmp_path / "maps", tmp_path / "masks").run()
    assert "expected validation masks that show the object, found none" in caplog.text
    assert "Each slice gets its own threshold by the rule 0.5" in caplog.text
    record = json.loads((tmp_path / "masks/threshold.json").read_text())
    assert record == {"threshold": None, "rule": 0.5, "validation_volumes": 0}
    maps = slices(tmp_path, "maps/train_cam.nii.gz", 2)
    mask = slices(tmp_path, "masks/train_mask.nii.gz", 2)
    for index in (1, 2):
        assert torch.equal(mask[index] > 0, maps[index] > 0.5 * maps[index].max())


def test_validation_masks_without_the_object_choose_nothing(tmp_path: Path) -> None:
    splits = make_splits(tmp_path)
    for seed in (1, 2):
        write_volume(tmp_path / f"val{seed}.nii.gz", np.zeros(SHAPE, np.uint8), oblique_affine())
    PseudoMasks(splits, tmp_path / "maps", tmp_path / "masks", rule="otsu").run()
    record = json.loads((tmp_path / "masks/threshold.json").read_text())
    assert record == {"threshold": None, "rule": "otsu", "validation_volumes": 2}
    maps, mask = slices(tmp_path, "maps/val1_cam.nii.gz", 2), slices(tmp_path, "masks/val1_mask.nii.gz", 2)
    assert torch.equal(mask[1] > 0, maps[1] > otsu(maps[1][None]))


def test_unchanged_masks_are_kept_and_a_changed_map_is_done_again(tmp_path: Path) -> None:
    splits = make_splits(tmp_path)
    run = PseudoMasks(splits, tmp_path / "maps", tmp_path / "masks").run
    run()
    before = stamps(tmp_path / "masks")
    run()
    assert stamps(tmp_path / "masks") == before
    (tmp_path / "masks/val1_mask.nii.gz").unlink()  # as if killed before it
    cam = values(tmp_path / "maps/train_cam.nii.gz").copy()
    cam[2:4, 2:4, 1] = 1
    write_volume(tmp_path / "maps/train_cam.nii.gz", cam, oblique_affine())
    run()
    after = stamps(tmp_path / "masks")
    assert {name for name in after if after[name] != before[name]} == {"train_mask.nii.gz", "val1_mask.nii.gz"}
    assert values(tmp_path / "masks/train_mask.nii.gz")[2:4, 2:4, 1].all()


def test_another_threshold_renews_all_masks(tmp_path: Path) -> None:
    splits = make_splits(tmp_path)
    PseudoMasks(splits, tmp_path / "maps", tmp_path / "masks").run()
    before = stamps(tmp_path / "masks")
    first = json.loads((tmp_path / "masks/threshold.json").read_text())["threshold"]
    for seed in (1, 2):
        path = tmp_path / f"maps/val{seed}_cam.nii.gz"
        write_volume(path, 0.5 * values(path), oblique_affine())
    PseudoMasks(splits, tmp_path / "maps", tmp_path / "masks").run()
    assert json.loads((tmp_path / "masks/threshold.json").read_text())["threshold"] < first
    assert not set(stamps(tmp_path / "masks").values()) & set(before.values())


def test_maps_that_do_not_fit_are_named(tmp_path: Path) -> None:
    splits = make_splits(tmp_path)
    write_volume(tmp_path / "maps/train_cam.nii.gz", np.zeros((12, 10, 3), np.float32), oblique_affine())
    with pytest.raises(VolumesFailedError, match=r"found 4 tags for 3 slices of .*train_cam.nii.gz. Run the step pseu"):
        PseudoMasks(splits, tmp_path / "maps", tmp_path / "masks").run()
    assert (tmp_path / "masks/val1_mask.nii.gz").is_file()
