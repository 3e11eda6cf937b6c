"""What the page draws (camtools.tag.pixels, planes, cache, fast_nifti)."""

from __future__ import annotations

import threading
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from camtools.data.errors import DataError
from camtools.tag.cache import PixelCache
from camtools.tag.fast_nifti import read_as_stored
from camtools.tag.pixels import Pixels, read_pixels
from camtools.tag.planes import planes_of
from camtools.transforms import PrepareVolumed
from tests.conftest import oblique_affine, write_volume


@pytest.mark.parametrize("slice_axis", [None, 0, 1, 2, "coronal"])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1), (1, -1, 1)])
def test_voxels_are_those_of_training(tmp_path: Path, slice_axis: object, flips: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(-100, 900, (7, 8, 9)).astype(np.int16)
    path = write_volume(tmp_path / "a.nii.gz", values, oblique_affine((1.0, 1.5, 4.0), flips))
    found = read_as_stored(Path(path), slice_axis)  # type: ignore[arg-type]
    expected = PrepareVolumed(None, slice_axis)({"image": path})["image"]  # type: ignore[arg-type]
    assert found is not None
    np.testing.assert_array_equal(found[0], expected[0].numpy())
    np.testing.assert_allclose(found[1], np.asarray(expected.affine), atol=1e-5)


def test_other_files_are_left_to_the_reader_that_explains(tmp_path: Path) -> None:
    bad = np.ones((4, 5, 6), np.float32)
    bad[0, 0, 3] = np.nan
    path = Path(write_volume(tmp_path / "a.nii", bad))
    assert read_as_stored(path, None) is None
    assert read_as_stored(tmp_path / "missing.nii", None) is None
    assert read_as_stored(tmp_path / "a.png", None) is None
    with pytest.raises(DataError, match="1 NaN or infinite voxels"):
        read_pixels(path)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SPL", "AIR", "PSR"])
def test_letters_and_directions(codes: str) -> None:
    """A bright voxel at the patient's right, front, top lies left and up in every plane."""
    shape = (4, 6, 8)
    positive = {"R": 0, "A": 1, "S": 2, "L": 0, "P": 1, "I": 2}
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    corner = []
    for axis, code in enumerate(codes):
        affine[positive[code], axis] = 1 if code in "RAS" else -1
        corner.append(shape[axis] - 1 if code in "RAS" else 0)
    voxels = np.zeros(shape)
    voxels[tuple(corner)] = 1
    for plane in planes_of(affine, shape):
        assert set(plane.letters) in ({"R", "L", "A", "P"}, {"R", "L", "S", "I"}, {"A", "P", "S", "I"})
        assert plane.letters[0] in "AS", "up"
        assert plane.letters[3] in "RA", "left"
        picture = plane.cut(voxels, corner[plane.axis])
        assert picture.shape == plane.size
        assert picture[0, 0] == 1


def test_values_of_any_range(tmp_path: Path) -> None:
    for name, values in {
        "float": np.linspace(-1e-3, 1e-3, 60, dtype=np.float32),
        "wide": np.linspace(-1e6, 1e6, 60, dtype=np.float32),
        "one": np.full(60, 7, np.float32),
        "int": np.arange(60, dtype=np.int16) - 30,
    }.items():
        path = Path(write_volume(tmp_path / f"{name}.nii.gz", values.reshape(3, 4, 5), np.eye(4)))
        pixels = read_pixels(path)
        back = pixels.voxels.astype(float) * pixels.slope + pixels.offset
        np.testing.assert_allclose(back, values.reshape(3, 4, 5).T, atol=(np.ptp(values) or 1) / 65000)
        assert pixels.window[0] < pixels.window[1]
        assert pixels.thumbs.dtype == np.uint8


def test_resampled_for_patches(tmp_path: Path) -> None:
    path = Path(write_volume(tmp_path / "a.nii.gz", np.ones((20, 30, 3), np.float32), np.diag([1.0, 1.0, 4.0, 1.0])))
    assert read_pixels(path, None, 2.0).planes[0].size == (16, 10)


def pixels_of(size: int) -> Pixels:
    empty = np.zeros((1, 1, 1), np.uint8)
    return Pixels(np.zeros((1, 1, size), np.uint8), 1, 0, (0, 1), (), empty)


def test_cache_is_bounded_and_reads_once() -> None:
    reads: list[str] = []

    def read(key: str) -> Pixels:
        reads.append(key)
        return pixels_of(100)

    cache = PixelCache(read, limit=350)
    for key in "abcab":
        cache.get(key)
    assert reads == ["a", "b", "c"]
    cache.get("d")
    assert cache.size == 300
    cache.get("a")
    assert reads == ["a", "b", "c", "d"], "the one not used for longest is gone, not the last ones"
    cache.get("c")
    assert reads[-1] == "c"


def test_cache_reads_ahead_and_together() -> None:
    gate = threading.Event()
    reads: list[str] = []

    def read(key: str) -> Pixels:
        reads.append(key)
        gate.wait(10)
        if key == "broken":
            raise DataError("broken.nii is broken")
        return pixels_of(1)

    cache = PixelCache(read)
    cache.ahead(["broken", "b"])
    threads = [threading.Thread(target=cache.get, args=("a",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(10)
    assert cache.get("b").size == 1
    assert sorted(reads) == ["a", "b", "broken"]
    with pytest.raises(DataError, match=r"broken\.nii is broken"):
        cache.get("broken")
    cache.stop()


def test_the_first_of_several_channels_is_drawn(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 900, (4, 5, 6, 4)).astype(np.int16)
    all_four = read_pixels(Path(write_volume(tmp_path / "four.nii.gz", array)))
    first = read_pixels(Path(write_volume(tmp_path / "first.nii.gz", array[..., 0])))
    np.testing.assert_array_equal(all_four.voxels, first.voxels)
    assert (all_four.window, all_four.offset) == (first.window, first.offset)


def test_damaged_file_says_so(tmp_path: Path) -> None:
    path = Path(write_volume(tmp_path / "a.nii", np.ones((4, 5, 6), np.float32)))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="truncated or damaged"):
        read_pixels(path)
    nib.save(nib.Nifti1Image(np.ones((4, 5, 6, 17), np.float32), np.eye(4)), path)
    with pytest.raises(DataError, match="Expected one 3D volume"):
        read_pixels(path)
