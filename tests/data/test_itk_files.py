"""NRRD and MetaImage (camtools.data.itk_files): read like the NIfTI file of the same data, or refused by name."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from camtools.data import DataError, Splits, list_volumes, read_volume, slice_tags
from camtools.data.files import file_hash, input_hash_of, save_like
from camtools.data.geometry import slice_axis_of
from camtools.data.volumes import check_same_geometry
from camtools.engine.check import DatasetCheck
from tests.conftest import blob_volume, oblique_affine, write_volume
from tests.itk_volumes import write_itk

itk = pytest.importorskip("itk", reason="needs the extra 'itk'")

FORMATS = pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
AFFINES = {
    "identity": np.eye(4),
    "oblique": oblique_affine(),
    "isotropic": oblique_affine((0.9375, 0.9375, 0.9375)),  # float32 lies above and below it
    "flipped": oblique_affine(flips=(-1, 1, -1)),
    "slices along x": oblique_affine((4.5, 0.7, 0.6)),
    "slices along y": np.array([[0.0, 0.0, 0.8, 5.0], [0.9, 0.0, 0.0, -6.0], [0.0, -3.0, 0.0, 7.0], [0, 0, 0, 1]]),
}


@FORMATS
@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES.keys())
def test_same_as_nifti(tmp_path: Path, suffix: str, affine: np.ndarray) -> None:
    array = np.random.default_rng(0).integers(-500, 500, (3, 4, 5)).astype(np.int16)
    expected = read_volume(write_volume(tmp_path / "a.nii.gz", array, affine))
    volume = read_volume(write_itk(tmp_path / f"a{suffix}", array, affine))
    assert volume.dtype == torch.float32
    assert torch.equal(volume.as_tensor(), expected.as_tensor())
    np.testing.assert_allclose(volume.affine, expected.affine, atol=1e-5)
    assert slice_axis_of(volume) == slice_axis_of(expected)
    check_same_geometry(volume, expected, "image", "mask")


@FORMATS
@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint16", "int32", "int64", "float32", "float64"])
def test_every_type_of_voxel(tmp_path: Path, suffix: str, dtype: str) -> None:
    sitk = pytest.importorskip("SimpleITK")  # ITK's own Python package cannot write them all
    array = np.arange(60).reshape(3, 4, 5).astype(dtype)
    sitk.WriteImage(sitk.GetImageFromArray(array.T), str(tmp_path / f"a{suffix}"))
    np.testing.assert_array_equal(read_volume(tmp_path / f"a{suffix}")[0], array)


@FORMATS
def test_fewer_and_more_axes(tmp_path: Path, suffix: str) -> None:
    slice_ = np.arange(12, dtype=np.float32).reshape(3, 4)
    volume = read_volume(write_itk(tmp_path / f"two{suffix}", slice_))
    assert volume.affine.shape == (4, 4)
    np.testing.assert_array_equal(volume[0, ..., 0], slice_)
    one = np.arange(24, dtype=np.float32).reshape(2, 3, 4, 1)
    np.testing.assert_array_equal(read_volume(write_itk(tmp_path / f"one{suffix}", one))[0], one[..., 0])


@FORMATS
def test_series_and_vectors_are_refused(tmp_path: Path, suffix: str) -> None:
    series = write_itk(tmp_path / f"series{suffix}", np.zeros((4, 5, 6, 7), np.float32))
    with pytest.raises(DataError, match=r"one 3D volume .*found 4D data of shape \(4, 5, 6, 7\) in .*series\.\w+"):
        read_volume(series)
    colour = write_itk(tmp_path / f"colour{suffix}", np.zeros((4, 5, 6, 3), np.uint8), vector=True)
    with pytest.raises(DataError, match=r"one 3D volume .*found 4D data of shape \(4, 5, 6, 3\) in .*colour\.\w+"):
        read_volume(colour)
    flat = write_itk(tmp_path / f"flat{suffix}", np.zeros((4, 5, 3), np.uint8), vector=True)
    with pytest.raises(DataError, match=r"one 3D volume .*found 4D data of shape \(4, 5, 1, 3\) in .*flat\.\w+"):
        read_volume(flat)


@FORMATS
def test_empty_truncated_and_other_files(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"empty{suffix}").touch()
    with pytest.raises(DataError, match=r"found an empty file \(0 bytes\) in .*empty\.\w+"):
        read_volume(tmp_path / f"empty{suffix}")
    whole = Path(write_itk(tmp_path / f"whole{suffix}", blob_volume(0)[0])).read_bytes()
    for part in (100, len(whole) // 2, len(whole) - 1):
        (tmp_path / f"part{suffix}").write_bytes(whole[:part])
        with pytest.raises(DataError, match=r"part\.\w+ cannot be read .*no complete image in it\). The file is trunc"):
            read_volume(tmp_path / f"part{suffix}")
    (tmp_path / f"text{suffix}").write_text("not an image")
    with pytest.raises(DataError, match=r"Expected (NRRD|MetaImage) data, found a text file in .*text\.\w+"):
        read_volume(tmp_path / f"text{suffix}")


@FORMATS
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_voxels_are_counted(tmp_path: Path, suffix: str, value: float) -> None:
    array = np.zeros((4, 4, 4), np.float32)
    array[1, 2, 3] = value
    with pytest.raises(DataError, match=r"found 1 NaN or infinite voxels of 64 in .*bad\.\w+"):
        read_volume(write_itk(tmp_path / f"bad{suffix}", array))


@pytest.mark.parametrize(("name", "voxels"), [("a.mhd", "a.raw"), ("a.nhdr", "a.raw")])
def test_voxels_in_another_file_are_refused(tmp_path: Path, name: str, voxels: str) -> None:
    header = Path(write_itk(tmp_path / name, np.zeros((2, 3, 4), np.uint8)))
    assert [item["image"] for item in list_volumes(tmp_path)] == [str(header)]  # not the voxels
    attached = header.with_suffix(".mha" if name == "a.mhd" else ".nrrd")
    attached.write_bytes(header.read_bytes())
    for path in (header, attached):
        with pytest.raises(
            DataError, match=rf"Expected header and voxels in one file, .* are in .*{voxels}. .*as .mha or .nrrd"
        ):
            read_volume(path)


def test_header_that_mentions_a_data_file_elsewhere(tmp_path: Path) -> None:
    path = Path(write_itk(tmp_path / "a.nrrd", np.ones((2, 3, 4), np.uint8)))
    header, _, voxels = path.read_bytes().partition(b"\n\n")
    path.write_bytes(header + b"\n# data file: old.raw\ndata file:=old.raw\n\n" + voxels)
    assert read_volume(path).sum() == 24


def test_listed_files_are_found_from_any_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ITK changes the working directory while it is first loaded, and with it that of other threads."""
    write_itk(tmp_path / "in/a.nrrd", np.ones((2, 3, 4), np.uint8))
    monkeypatch.chdir(tmp_path)
    items = list_volumes("in")
    monkeypatch.chdir(tmp_path / "in")
    assert read_volume(items[0]["image"]).sum() == 24


def test_missing_itk_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_itk(tmp_path / "a.nrrd", np.zeros((2, 3, 4), np.uint8))
    monkeypatch.setitem(sys.modules, "itk", None)
    with pytest.raises(ImportError, match=r"a.nrrd needs ITK, which is not installed: pip install 'camtools\[itk\]'"):
        read_volume(path)


def test_image_and_mask_of_different_formats(tmp_path: Path) -> None:
    image, mask = blob_volume(0)
    affine = oblique_affine()
    items = [
        {"image": write_itk(tmp_path / "a.nrrd", image, affine), "label": write_volume(tmp_path / "m.nii", mask)},
        {"image": write_volume(tmp_path / "b.nii", image), "label": write_itk(tmp_path / "m.mha", mask, affine)},
    ]
    assert [slice_tags(item) for item in items] == [[0, 0, 1, 1, 0, 0]] * 2
    DatasetCheck(Splits(items), tmp_path / "run").run()
    affine[0, 3] += 2
    items[1]["label"] = write_itk(tmp_path / "moved.mha", mask, affine)
    with pytest.raises(DataError, match=r"Expected the affine of the image .* 2 mm in its mask .*moved.mha"):
        DatasetCheck(Splits(items), tmp_path / "run").run()


def test_output_of_itk_files_is_nifti_with_their_affine(tmp_path: Path) -> None:
    reference = write_itk(tmp_path / "a.nrrd", np.zeros((3, 4, 5), np.int16), oblique_affine())
    mask = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    save_like(mask, np.asarray(read_volume(reference).affine), reference, tmp_path / "out.nii.gz")
    written = read_volume(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(written[0], mask)
    np.testing.assert_allclose(written.affine, oblique_affine(), atol=1e-5)
    assert input_hash_of(tmp_path / "out.nii.gz") == file_hash(reference)[:32]
    assert itk.imread(str(tmp_path / "out.nii.gz")).GetSpacing() == pytest.approx((1, 1, 5), abs=1e-5)
