"""Geometry of any affine: slices stay slices, in mm, and what places no voxel is refused by name."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SliceInferer
from monai.networks.nets import BasicUNet
from monai.transforms import Compose, Invertd
from scipy.spatial.transform import Rotation

from camtools.data import DataError, Splits, dataset_slice_axis, read_volume, slice_tags
from camtools.data.affines import check_affine
from camtools.data.files import save_like
from camtools.data.geometry import resolve_slice_axis, turn_to_slices, voxel_spacing
from camtools.data.itk_files import itk_unit
from camtools.data.slicing import count_stacks
from camtools.engine.check import DatasetCheck
from camtools.transforms import InPlaneSpacingd, LoadVolumed, PredictVolumed, SliceAxisLastd
from tests.conftest import write_volume

SHEARS = {"none": None, "y by z": (1, 2), "x by z": (0, 2), "x by y": (0, 1), "z by x": (2, 0)}


def affine_of(axis: int, flips: tuple[int, ...], shear: tuple[int, int] | None, angle: float) -> np.ndarray:
    """Slices of 5 mm along an array axis, pixels of 0.8 mm."""
    spacing = np.full(3, 0.8)
    spacing[axis] = 5.0
    skew = np.eye(3)
    if shear is not None:
        skew[shear] = np.tan(np.deg2rad(20))
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (angle, -angle / 2, angle), degrees=True).as_matrix() @ skew
    affine[:3, :3] *= spacing * flips
    affine[:3, 3] = (-20, 7, 31)
    return affine


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("angle", [0.0, 12.0])
@pytest.mark.parametrize("shear", SHEARS.values(), ids=SHEARS.keys())
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slice_k_stays_slice_k(
    tmp_path: Path, axis: int, flips: tuple[int, ...], shear: tuple[int, int] | None, angle: float, mode: str
) -> None:
    shape = [12, 14, 16]
    shape[axis] = 7
    number = np.arange(7, dtype=np.float32).reshape([7 if index == axis else 1 for index in range(3)])
    affine = affine_of(axis, flips, shear, angle)
    path = write_volume(tmp_path / "a.nii.gz", np.broadcast_to(number, shape).copy(), affine)
    prepare = Compose([LoadVolumed("image"), SliceAxisLastd("image", axis), InPlaneSpacingd("image", 0.5, mode)])
    data = prepare({"image": path})
    assert data["image"].shape[-1] == 7
    for k in range(7):
        assert data["image"][..., k].unique().tolist() == [k]
    np.testing.assert_allclose(voxel_spacing(data["image"].affine)[:2], 0.5, atol=1e-5)
    data["pred"] = data["image"].clone()
    restored = Invertd("pred", prepare, orig_keys="image", nearest_interp=False)(data)["pred"]
    np.testing.assert_array_equal(restored[0].numpy(), np.broadcast_to(number, shape))
    np.testing.assert_allclose(restored.affine, read_volume(path).affine, atol=1e-9)


@pytest.mark.parametrize("angle", range(0, 181, 15))
@pytest.mark.parametrize("around", ["x", "y", "z"])
def test_any_rotation_prepares_the_same_pixels_and_comes_back(tmp_path: Path, around: str, angle: int) -> None:
    array = np.random.default_rng(0).integers(0, 2, (9, 9, 9)).astype(np.uint8)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler(around, angle, degrees=True).as_matrix() @ np.diag([1.0, 1.0, 4.0])
    path = write_volume(tmp_path / "a.nii.gz", array, affine)
    again = write_volume(tmp_path / "b.nii.gz", array, affine + np.random.default_rng(1).normal(0, 1e-6, (4, 4)))
    keys = ["image", "label"]
    prepare = Compose([LoadVolumed(keys), SliceAxisLastd(keys), InPlaneSpacingd(keys, 0.7, ["nearest", "nearest"])])
    data = prepare({"image": path, "label": again})
    assert torch.equal(data["image"].as_tensor(), data["label"].as_tensor())  # at 45 degrees too
    turned = SliceAxisLastd("image")(LoadVolumed("image")({"image": path}))["image"][0].numpy()
    candidates = [np.rot90(mirrored, turns, (0, 1)) for mirrored in (array, array[::-1]) for turns in range(4)]
    assert any(np.array_equal(turned, candidate) for candidate in candidates)
    data["pred"] = data["image"].clone()
    restored = Invertd("pred", prepare, orig_keys="image", nearest_interp=False)(data)["pred"]
    np.testing.assert_array_equal(restored[0].numpy(), array)
    np.testing.assert_allclose(restored.affine, affine, atol=1e-5)


def test_storage_order_does_not_change_the_prepared_slices(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.random.default_rng(0).random((8, 9, 5), np.float32), np.diag([1.0, 1.0, 4.0, 1.0]))
    expected = None
    for codes in ("RAS", "LAS", "PRS", "ALS", "SAR"):
        nib.save(
            image.as_reoriented(
                nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(codes))
            ),
            tmp_path / f"{codes}.nii.gz",
        )
        found = SliceAxisLastd("image")(LoadVolumed("image")({"image": tmp_path / f"{codes}.nii.gz"}))["image"]
        expected = found if expected is None else expected
        assert torch.equal(found.as_tensor(), expected.as_tensor()), codes


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1e-3), ("micron", 1e3), ("mm", 1.0), ("unknown", 1.0)])
def test_units_are_mm_inside_and_the_files_own_outside(tmp_path: Path, unit: str, factor: float) -> None:
    image = nib.Nifti1Image(np.ones((32, 32, 6), np.float32), np.diag([factor, factor, 4 * factor, 1.0]))
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(voxel_spacing(volume.affine), (1, 1, 4), rtol=1e-5)
    assert InPlaneSpacingd("image", 2.0)({"image": volume})["image"].shape[1:] == (16, 16, 6)
    save_like(np.ones((32, 32, 6), np.uint8), np.asarray(volume.affine), tmp_path / "a.nii.gz", tmp_path / "m.nii.gz")
    written = nib.load(tmp_path / "m.nii.gz")
    assert written.header.get_xyzt_units()[0] == unit
    np.testing.assert_array_equal(written.affine, nib.load(tmp_path / "a.nii.gz").affine)


def test_unknown_code_of_a_unit_is_refused(tmp_path: Path) -> None:
    path = Path(write_volume(tmp_path / "a.nii", np.ones((4, 5, 6), np.float32), np.eye(4)))
    raw = bytearray(path.read_bytes())
    raw[123] = 5
    path.write_bytes(bytes(raw))
    with pytest.raises(DataError, match=r"unit of length of 1 \(metres\).*found 5 in .*a\.nii \(xyzt_units\)"):
        read_volume(path)


@pytest.mark.parametrize(
    ("line", "factor"),
    [
        ('space units: "um" "um" "um"', 1e-3),
        ("DistanceUnits = m", 1e3),
        ('space units: "mm" "mm" "mm"', 1.0),
        ("x: y", 1),
    ],
)
def test_units_of_itk_files(line: str, factor: float) -> None:
    assert itk_unit(Path("a.nrrd"), f"NRRD0004\n{line}\n\n".encode()) == factor


def test_words_that_are_no_units_are_refused() -> None:
    with pytest.raises(DataError, match=r"Expected one unit of length for all axes.*found space units .* of a\.nrrd"):
        itk_unit(Path("a.nrrd"), b'NRRD0004\nspace units: "mm" "um" "mm"\n\n')


@pytest.mark.parametrize(
    ("affine", "words"),
    [
        (np.diag([np.nan, 1, 1, 1]), r"Expected finite numbers, found .*"),
        (np.diag([np.inf, 1, 1, 1]), "Expected finite numbers, found .*"),
        (np.diag([0.0, 1, 1, 1]), "found 0 mm along axis 0"),
        (np.diag([1.0, 1e-6, 1, 1]), "found 1e-06 mm along axis 1"),
        (np.diag([1.0, 1, 1e6, 1]), r"found 1e\+06 mm along axis 2"),
        (np.array([[1.0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "found a singular matrix.*"),
    ],
)
@pytest.mark.parametrize("key", ["image", "label"])
def test_affines_that_place_nothing_are_refused(tmp_path: Path, key: str, affine: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=rf"{words} in the affine of a \(sform\)\. Correct"):
        check_affine(affine, "a", "sform")
    array = np.zeros((6, 6, 4), np.uint8)
    good = write_volume(tmp_path / "good.nii", array, np.eye(4))
    bad = Path(write_volume(tmp_path / "bad.nii", array, np.eye(4)))
    raw = bytearray(bad.read_bytes())
    raw[280:328] = affine[:3].astype("<f4").tobytes()  # srow_x, srow_y, srow_z
    raw[252:254] = (0).to_bytes(2, "little")  # no qform
    bad.write_bytes(bytes(raw))
    item = {"image": good, "label": good, "slice_labels": [0, 1, 1, 0]} | {key: str(bad)}
    with pytest.raises(DataError, match=rf"1 of 1 volumes cannot.*:\n.*{words} in the affine of .*bad\.nii \(sform"):
        DatasetCheck(Splits([item]), tmp_path / "out").run()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixdim_that_is_no_number_is_refused(tmp_path: Path, value: float) -> None:
    path = Path(write_volume(tmp_path / "a.nii", np.zeros((4, 5, 6), np.uint8), np.eye(4)))
    raw = bytearray(path.read_bytes())
    raw[80:84] = np.float32(value).tobytes()
    path.write_bytes(bytes(raw))
    with pytest.raises(DataError, match=r"Expected finite numbers, found .* in the affine of .*a\.nii \(pixdim\)"):
        read_volume(path)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_pixdim_without_a_transform_must_be_positive(tmp_path: Path, value: float) -> None:
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), None)
    nib.save(image, tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[80:84] = np.float32(value).tobytes()
    (tmp_path / "a.nii").write_bytes(bytes(raw))
    with pytest.raises(DataError, match=r"Expected a positive spacing, found .* in the affine of .*a\.nii \(pixdim\)"):
        read_volume(tmp_path / "a.nii")


def test_sform_and_qform_that_disagree_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    image = nib.Nifti1Image(np.zeros((8, 8, 8), np.uint8), np.eye(4))
    image.set_sform(np.diag([-1.0, 1.0, 1.0, 1.0]), 1)
    image.set_qform(np.eye(4), 1)
    nib.save(image, tmp_path / "a.nii")
    with caplog.at_level(logging.WARNING, "camtools"):
        volume = read_volume(tmp_path / "a.nii")
    assert "a.nii: its sform and its qform have the same code, but place voxels up to 14 apart" in caplog.text
    assert float(volume.affine[0, 0]) == -1


def write_cohort(folder: Path, **spacings: tuple[float, float, float]) -> list[dict[str, str]]:
    array = np.zeros((9, 9, 9), np.uint8)
    return [
        {"image": write_volume(folder / f"{name}.nii.gz", array, np.diag([*spacing, 1.0])), "case": name}
        for name, spacing in spacings.items()
    ]


def test_clear_volumes_decide_for_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    items = write_cohort(
        tmp_path, thick=(0.7, 0.7, 5), thin=(0.7, 0.7, 0.5), odd=(0.9, 1.0, 0.8), iso=(1, 1, 1), coronal=(0.7, 5, 0.7)
    )
    items += write_cohort(tmp_path, thick2=(0.8, 0.8, 3))
    (tmp_path / "broken.nii.gz").write_bytes(b"nothing")
    items.append({"image": str(tmp_path / "broken.nii.gz"), "case": "broken"})
    with caplog.at_level(logging.INFO, "camtools"):
        decided = dataset_slice_axis(items)
    assert decided == "auto:axial"
    assert "1 volumes are clearly not stacked as axial slices" in caplog.text
    assert count_stacks(items).other == ("coronal",)
    axes = {}
    for item in items[:-1]:
        volume = read_volume(item["image"])
        axes[item["case"]] = resolve_slice_axis(np.asarray(volume.affine), tuple(volume.shape[1:]), decided)
    assert axes == {"thick": 2, "thin": 2, "odd": 2, "iso": 2, "coronal": 1, "thick2": 2}
    assert dataset_slice_axis(items, "coronal") == "coronal"
    assert dataset_slice_axis(items[:0]) is None


def test_check_records_the_decision_and_says_when_it_turns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    items = write_cohort(tmp_path, thick=(0.7, 0.7, 5), between=(1.0, 1.2, 1.0))
    items = [item | {"slice_labels": [0, 1] * 4 + [0]} for item in items]
    DatasetCheck(Splits(items), tmp_path / "out").run()
    rows = json.loads((tmp_path / "out/dataset_check.json").read_text())
    assert [(row["slicing"], row["slice_axis"], row["plane"]) for row in rows] == [("auto:axial", 2, "axial")] * 2
    with caplog.at_level(logging.WARNING, "camtools"):
        DatasetCheck(Splits(items, slice_axis="coronal"), tmp_path / "out").run()
    assert "the slice axis of 2 volumes (the first is thick) differs from the earlier run" in caplog.text


def test_tags_that_fit_another_axis_are_an_error_that_says_so(tmp_path: Path) -> None:
    path = write_volume(tmp_path / "a.nii.gz", np.zeros((5, 6, 7), np.uint8), np.diag([1.0, 1.0, 4.0, 1.0]))
    with pytest.raises(DataError, match=r"Expected 7 slice tags.* axis 2 .* fits axis 1: .* give --slice_axis coronal"):
        slice_tags({"image": path, "slice_labels": [0] * 6})


@pytest.mark.parametrize(("spacing", "word", "size"), [(0.01, "small", "1 x 1"), (900.0, "large", "27901 x 27901")])
def test_slices_of_a_wrong_spacing_are_refused(tmp_path: Path, spacing: float, word: str, size: str) -> None:
    affine = np.diag([spacing, spacing, 4.0, 1.0])
    data = LoadVolumed("image")({"image": write_volume(tmp_path / "a.nii.gz", np.zeros((32, 32, 3), np.uint8), affine)})
    with pytest.raises(DataError, match=rf"too {word} ones in .*a\.nii\.gz: 32 x 32 .* become {size} pixels of 1 mm"):
        InPlaneSpacingd("image", 1.0)(data)


@pytest.mark.parametrize("shape", [(8, 8), (3, 32), (40, 5)])
def test_small_slices_are_padded_for_the_network_and_cut_again(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = BasicUNet(spatial_dims=2, in_channels=1, out_channels=2, features=(4, 4, 4, 4, 4, 4)).eval()
    image = torch.rand(1, *shape, 2)
    inferer = SliceInferer(roi_size=(-1, -1), spatial_dim=2)
    found = PredictVolumed(network, inferer)({"image": MetaTensor(image)})["pred"]
    assert found.shape == (2, *shape, 2)
    more = [max(32 - size, 0) for size in shape]
    padded = torch.nn.functional.pad(image[..., 0][None], (0, more[1], 0, more[0]), mode="replicate")
    with torch.no_grad():
        expected = network(padded)[0, :, : shape[0], : shape[1]]
    # instance normalisation of predictions rounds in another order
    torch.testing.assert_close(found[..., 0].as_tensor(), expected, atol=1e-4, rtol=0)


def test_order_of_slices_is_never_reversed() -> None:
    for flips in ((1, 1, 1), (-1, -1, -1)):
        order, reverse = turn_to_slices(np.diag([*np.array(flips) * 1.0, 1.0]), 0)
        assert order == (1, 2, 0)
        assert not reverse[2]
