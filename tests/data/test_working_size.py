from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camtools.data import DataError, dataset_channels, working_pixel_size
from tests.conftest import write_volume


def volume(folder: Path, name: str, shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> dict[str, str]:
    path = folder / name
    write_volume(path, np.zeros(shape, np.int16), np.diag([*spacing, 1.0]))
    return {"image": str(path)}


def test_median_of_the_longer_sides(tmp_path: Path) -> None:
    items = [
        volume(tmp_path, "a.nii.gz", (100, 80, 5), (1.0, 1.0, 6.0)),  # 100 mm
        volume(tmp_path, "b.nii.gz", (100, 90, 5), (0.5, 2.0, 6.0)),  # 180 mm
        volume(tmp_path, "c.nii.gz", (5, 60, 110), (6.0, 1.0, 1.0)),  # 110 mm, another slice axis
    ]
    assert working_pixel_size(items, 55) == 2.0
    assert working_pixel_size(items[:1], 64, slice_axis=0) == 1.25  # the sides are 80 mm and 30 mm


def test_photographs_count_in_pixels(tmp_path: Path) -> None:
    Image.new("RGB", (300, 200)).save(tmp_path / "a.png")
    assert working_pixel_size([{"image": str(tmp_path / "a.png")}], 200) == 1.5


def test_no_usable_header(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"nothing")
    with pytest.raises(DataError, match="Expected images whose headers tell their size, found none among 1. Give"):
        working_pixel_size([{"image": str(tmp_path / "a.nii.gz")}], 200)


def test_channels_of_the_first_image(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), (10, 20, 30)).save(tmp_path / "a.png")
    assert dataset_channels([{"image": str(tmp_path / "a.png")}]) == 3
    assert dataset_channels([volume(tmp_path, "a.nii.gz", (9, 8, 5), (1.0, 1.0, 6.0))]) == 1
    write_volume(tmp_path / "b.nii.gz", np.zeros((9, 8, 5, 4), np.int16))
    assert dataset_channels([{"image": str(tmp_path / "b.nii.gz")}]) == 4
    with pytest.raises(DataError, match="Expected images of which the first one tells the number of channels, found"):
        dataset_channels([])
