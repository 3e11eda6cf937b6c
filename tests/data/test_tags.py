"""Tags of slices: given, or derived from a mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from camtools.data import DataError, read_volume, slice_tags
from tests.conftest import write_volume


def test_tags_from_masks_use_the_area(tmp_path: Path) -> None:
    mask = np.zeros((10, 10, 3), np.uint8)
    mask[0, 0, 1] = 1
    mask[:5, :, 2] = 1
    item = {"image": "unused", "label": write_volume(tmp_path / "m.nii.gz", mask)}
    assert slice_tags(item) == [0, 1, 1]
    assert slice_tags(item, min_area_fraction=0.01) == [0, 0, 1]
    assert slice_tags(item, slice_axis=0) == [1] * 5 + [0] * 5


def test_given_tags_win_and_are_checked(tmp_path: Path) -> None:
    path = write_volume(tmp_path / "i.nii.gz", np.zeros((4, 4, 3), np.uint8))
    assert slice_tags({"image": path, "slice_labels": [0, 1, 0], "label": "not read"}) == [0, 1, 0]
    with pytest.raises(DataError, match=r"Expected 3 slice tags, one per slice along axis 2 .* found 2 for .*i.nii.gz"):
        slice_tags({"image": path, "slice_labels": [0, 1]})
    with pytest.raises(DataError, match=r"0 or 1 as slice tags of .*i.nii.gz: .* found the number 2 for slice 1"):
        slice_tags({"image": path, "slice_labels": [0, 2, 0]})
    with pytest.raises(DataError, match=r"Expected slice tags or a mask, found neither for .*i.nii.gz"):
        slice_tags({"image": path})


def test_given_tags_need_no_voxels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_volume(tmp_path / "i.nii.gz", np.zeros((4, 4, 3), np.uint8), np.diag([1.0, 1.0, 5.0, 1.0]))
    monkeypatch.setattr("camtools.data.tags.read_volume", None)
    assert slice_tags({"image": path, "slice_labels": [0, 1, 1]}) == [0, 1, 1]


def test_mask_must_lie_on_the_image(tmp_path: Path) -> None:
    image = read_volume(write_volume(tmp_path / "i.nii.gz", np.zeros((4, 4, 3), np.uint8)))
    item = {"image": "i.nii.gz", "label": write_volume(tmp_path / "m.nii.gz", np.zeros((4, 4, 2), np.uint8))}
    assert slice_tags(item) == [0, 0]
    with pytest.raises(DataError, match=r"found \(4, 4, 2\) in its mask .*m.nii.gz"):
        slice_tags(item, image=image)
