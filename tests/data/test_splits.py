"""The one door for the data: what comes through it, and what never does."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from camtools.data import DataError, PatchTagger, SliceDataset, Splits, load_datalist
from camtools.data import tags as tags_module
from camtools.engine.manifest import Manifest, digest_unread
from camtools.patches import PatchGrid
from camtools.transforms import PrepareVolumed
from tests.conftest import write_volume

NAMES = ("training", "validation", "test")


@pytest.fixture
def splits(blob_dataset: Path) -> Splits:
    return Splits(*(load_datalist(blob_dataset, name) for name in NAMES))


def strings(value: Any) -> list[str]:
    """Every text that can be read from a value: entries, public attributes, and how it prints."""
    found = [str(value), repr(value)]
    if isinstance(value, dict):
        for key, entry in value.items():
            found += [key, *strings(entry)]
    elif isinstance(value, (list, tuple)):
        for entry in value:
            found += strings(entry)
    elif type(value).__module__.startswith("camtools"):
        public = [name for name in dir(value) if not name.startswith("_")]
        found += [str(getattr(value, name)) for name in public if not callable(getattr(value, name))]
    return found


def test_training_item_cannot_hand_out_a_mask(splits: Splits) -> None:
    assert splits.training
    for items in (splits.training, splits.tagged(splits.training)):
        assert all("label" not in item for item in items)
        assert not [text for text in strings(items) if "labels/" in text]
    # whatever loads files by key finds none
    assert set(PrepareVolumed()(splits.training[0])) == {"image", "case", "tag_source"}


def test_validation_and_test_items_keep_their_masks(splits: Splits) -> None:
    assert all(Path(item["label"]).is_file() for item in splits.scored)


def test_pseudo_labels_are_made_without_any_mask(splits: Splits) -> None:
    tagged = splits.tagged()
    assert len(tagged) == len(splits.all) == 7
    assert all(set(item) == {"image", "case", "slice_labels"} for item in tagged)


def test_full_supervision_keeps_the_masks_and_says_so(blob_dataset: Path) -> None:
    splits = Splits(load_datalist(blob_dataset, "training"), full_supervision=True)
    assert all(Path(item["label"]).is_file() for item in splits.training + splits.tagged())


def test_masks_are_read_once(splits: Splits, blob_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    read = tags_module.read_mask
    monkeypatch.setattr(tags_module, "read_mask", lambda path: seen.append(path) or read(path))
    listed = load_datalist(blob_dataset, "training")
    expected = [[0, 0, 1, 1, 0, 0]] * 3
    assert [item["slice_labels"] for item in SliceDataset(listed, PrepareVolumed(), splits=splits).data] == expected
    splits.tagged()
    splits.tagged(listed)
    assert len(seen) == len(set(seen)) == 7


def test_tags_follow_the_settings(blob_dataset: Path) -> None:
    listed = load_datalist(blob_dataset, "training")
    assert Splits(listed, min_area_fraction=0.9).tagged()[0]["slice_labels"] == [0] * 6
    assert len(Splits(listed, slice_axis=0).tagged()[0]["slice_labels"]) == 32
    assert Splits(listed).slice_axis == "auto:axial"


def test_given_tags_win_over_the_mask(blob_dataset: Path) -> None:
    listed = [item | {"slice_labels": [1] * 6} for item in load_datalist(blob_dataset, "training")]
    assert Splits(listed).tags(Splits(listed).training[0]) == [1] * 6


def test_items_without_tags_and_mask(tmp_path: Path) -> None:
    bare = {"image": write_volume(tmp_path / "a.nii.gz", np.zeros((4, 4, 2), np.uint8))}
    splits = Splits([bare])
    assert splits.tagged() == []
    with pytest.raises(DataError, match="Expected slice tags or a mask, found neither"):
        splits.tagged(splits.training)


def test_two_items_of_one_name_are_refused() -> None:
    with pytest.raises(DataError, match="found 'b' for /x/a.nii and /y/a.nii"):
        Splits([{"image": "/x/a.nii", "case": "b"}, {"image": "/y/a.nii", "case": "b"}])


def test_tags_of_patches_come_through_the_same_door(splits: Splits) -> None:
    tagger = PatchTagger(PrepareVolumed(), PatchGrid(16, 8))
    tagged = splits.tagged(tagger=tagger)
    assert all(set(item) == {"image", "case", "patch_tags", "slice_labels"} for item in tagged)
    assert tagged[0]["slice_labels"] == [0, 0, 1, 1, 0, 0]
    assert tagged[0]["patch_tags"].dtype == torch.bool
    assert splits.patch_tags(splits.training[0], tagger) is tagged[0]["patch_tags"]


def test_changed_mask_of_a_training_item_is_noticed_without_its_path(splits: Splits, tmp_path: Path) -> None:
    inputs = splits.training[:1]
    before = digest_unread(inputs), Manifest(tmp_path).hash_inputs(inputs)
    assert before == (digest_unread(inputs), Manifest(tmp_path).hash_inputs(inputs))
    mask = Path(inputs[0]["image"].replace("images", "labels"))
    write_volume(mask, np.ones((32, 36, 6), np.uint8))
    assert digest_unread(inputs) != before[0]
    manifest = Manifest(tmp_path)
    assert manifest.hash_inputs(inputs) != before[1]
    assert not [name for name in manifest.content["files"] if "labels" in name]


def test_worker_processes_get_the_same_tags(splits: Splits) -> None:
    copy = pickle.loads(pickle.dumps(splits))
    assert copy.tagged() == splits.tagged()


def test_prepared_volume_must_have_a_slice_per_tag(blob_dataset: Path) -> None:
    listed = load_datalist(blob_dataset, "training")
    dataset = SliceDataset(listed, PrepareVolumed(slice_axis=0), splits=Splits(listed))
    with pytest.raises(DataError, match="expected 6 slices, one per tag, found 32 after 'prepare'"):
        dataset[0]


def test_shown_cases_are_the_first_scored() -> None:
    splits = Splits(
        validation=[{"image": f"v{k}.nii"} for k in range(9)], test=[{"image": f"t{k}.nii"} for k in range(9)]
    )
    assert splits.shown == [f"v{k}" for k in range(9)] + ["t0", "t1", "t2"]
