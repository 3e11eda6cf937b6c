"""Phantoms: the same seed gives the same volume, the geometry is a thick oblique stack, intensity does not solve it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_type_hints

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion, label

from camtools.cli import main
from camtools.data import load_datalist
from camtools.data.phantoms import KINDS, Phantom, make_phantom, write_phantoms, writer

SPACING = (1.0, 1.0, 6.5)


@pytest.fixture(scope="module")
def brains() -> list[Phantom]:
    return [make_phantom("fetal_brain", seed) for seed in range(12)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms("fetal_brain", tmp_path_factory.mktemp("phantoms") / "brains", n=4, seed=7).parent


def voxels(path: Path) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = np.asanyarray(nib.load(path).dataobj)
    return array


def slice_direction(affine: np.ndarray[Any, Any]) -> int:
    return int(np.abs(affine[:3, 2]).argmax())


def best_interval_dice(values: np.ndarray[Any, Any], mask: np.ndarray[Any, Any], levels: int = 128) -> float:
    """Dice of the best interval of intensities ``[low, high]``, one-sided ones included, chosen on the mask itself."""
    edges = np.linspace(values.min(), values.max(), levels + 1)
    inside = np.concatenate([[0], np.histogram(values[mask], edges)[0].cumsum()])
    chosen = np.concatenate([[0], np.histogram(values, edges)[0].cumsum()])
    low, high = np.triu_indices(levels + 1, k=1)
    dice = 2 * (inside[high] - inside[low]) / (chosen[high] - chosen[low] + mask.sum())
    return float(dice.max())


def scaled(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    result: np.ndarray[Any, Any] = np.minimum(image / np.percentile(image, 99.5), 1.0)
    return result


def test_interval_search_by_hand() -> None:
    values = np.array([0.0, 1.0, 1.0, 2.0, 3.0])
    assert best_interval_dice(values, values == 1) == 1.0
    # The best choice takes both 1s for the one that is in the mask: 2 * 1 / (2 + 1).
    assert best_interval_dice(values, np.array([False, True, False, False, False])) == pytest.approx(2 / 3)


def test_same_seed_same_phantom() -> None:
    first, second, other = (
        make_phantom("fetal_brain", 5),
        make_phantom("fetal_brain", 5),
        make_phantom("fetal_brain", 6),
    )
    for name in ("image", "mask", "affine"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
    assert first.image.tobytes() != other.image.tobytes()
    assert not np.array_equal(first.affine, other.affine)


def test_types_and_values(brains: list[Phantom]) -> None:
    for phantom in brains:
        types = [part.dtype.name for part in (phantom.image, phantom.mask, phantom.affine)]
        assert types == ["int16", "uint8", "float64"]
        assert phantom.image.shape == phantom.mask.shape
        assert phantom.image.min() >= 0
        assert 300 < phantom.image.max() < 3000
        assert set(np.unique(phantom.mask)) == {0, 1}


def test_shapes_differ(brains: list[Phantom]) -> None:
    shapes = {phantom.image.shape for phantom in brains}
    assert len(shapes) > 8
    for size_x, size_y, size_z in shapes:
        assert size_x != size_y
        assert 80 <= min(size_x, size_y) <= max(size_x, size_y) <= 112
        assert 16 <= size_z <= 24


def test_affines_are_oblique(brains: list[Phantom]) -> None:
    for phantom in brains:
        matrix = phantom.affine[:3, :3]
        np.testing.assert_allclose(np.linalg.norm(matrix, axis=0), SPACING, atol=1e-9)
        directions = matrix / SPACING
        np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-9)
        largest = np.abs(directions).max(axis=0)
        assert largest.min() < 0.9999
        assert largest.min() > np.cos(0.41)
    assert {slice_direction(phantom.affine) for phantom in brains} == {0, 1, 2}
    assert {np.sign(np.linalg.det(phantom.affine[:3, :3])) for phantom in brains} == {-1.0, 1.0}


def test_a_quarter_of_the_slices_shows_the_brain(brains: list[Phantom]) -> None:
    tags = [tag for phantom in brains for tag in phantom.slice_labels]
    assert 0.2 <= np.mean(tags) <= 0.32
    for phantom in brains:
        assert phantom.slice_labels[0] == 0 or phantom.slice_labels[-1] == 0
        assert phantom.slice_labels == [int(phantom.mask[..., z].max()) for z in range(phantom.mask.shape[2])]


def test_one_brain_of_the_right_size(brains: list[Phantom]) -> None:
    centres = []
    for phantom in brains:
        assert label(phantom.mask)[1] == 1
        x, y = np.nonzero(phantom.mask[..., phantom.mask.sum((0, 1)).argmax()])
        assert 30 < np.ptp(x) < 58
        assert 30 < np.ptp(y) < 58
        assert not phantom.mask[[0, -1]].any()
        assert not phantom.mask[:, [0, -1]].any()
        areas = phantom.mask.mean((0, 1))
        assert areas[areas > 0].min() > 0.01
        centres.append((x.mean() / phantom.mask.shape[0], y.mean() / phantom.mask.shape[1]))
    assert np.std(centres, axis=0).min() > 0.04


def test_intensity_alone_does_not_solve_it(brains: list[Phantom]) -> None:
    values = [scaled(phantom.image) for phantom in brains]
    masks = [phantom.mask > 0 for phantom in brains]
    pooled = best_interval_dice(np.concatenate([v.ravel() for v in values]), np.concatenate([m.ravel() for m in masks]))
    shown = [(v[..., z], m[..., z]) for v, m in zip(values, masks, strict=True) for z in np.flatnonzero(m.any((0, 1)))]
    slices = best_interval_dice(
        np.concatenate([v.ravel() for v, _ in shown]), np.concatenate([m.ravel() for _, m in shown])
    )
    assert pooled < 0.5
    assert slices < 0.5
    # Not even with a threshold of its own for every volume.
    assert max(best_interval_dice(v, m) for v, m in zip(values, masks, strict=True)) < 0.5


def test_the_skull_is_a_dark_edge_around_the_brain(brains: list[Phantom]) -> None:
    in_plane = np.ones((3, 3, 1), bool)
    for phantom in brains:
        brain = phantom.mask > 0
        rim = brain & ~binary_erosion(brain, in_plane, iterations=3)
        skull = binary_dilation(brain, in_plane, iterations=2) & ~brain
        assert phantom.image[skull].mean() < 0.6 * phantom.image[rim].mean()


def test_dataset_folder(dataset: Path) -> None:
    content = json.loads((dataset / "dataset.json").read_text())
    assert content["name"] == "fetal_brain"
    assert "fetal brain" in content["description"]
    assert content["labels"] == {"0": "background", "1": "brain"}
    assert [len(content[split]) for split in ("training", "validation", "test")] == [2, 1, 1]
    names = sorted(path.relative_to(dataset).as_posix() for path in dataset.rglob("*") if path.is_file())
    volumes = [f"{folder}/fetal_brain_{i:03d}.nii.gz" for folder in ("images", "labels") for i in range(4)]
    assert names == ["dataset.json", *volumes]
    for item in content["training"] + content["validation"] + content["test"]:
        assert item["slice_labels"] == voxels(dataset / item["label"]).any(axis=(0, 1)).astype(int).tolist()


def test_files_carry_the_geometry(dataset: Path) -> None:
    for item in load_datalist(dataset, "training"):
        image, mask = nib.load(item["image"]), nib.load(item["label"])
        assert (image.get_data_dtype(), mask.get_data_dtype()) == (np.int16, np.uint8)
        for volume in (image, mask):
            assert volume.header.get_xyzt_units()[0] == "mm"
            np.testing.assert_allclose(volume.header.get_zooms(), SPACING, atol=1e-5)
            np.testing.assert_allclose(volume.get_qform(), volume.get_sform(), atol=1e-3)
            assert (int(volume.header["qform_code"]), int(volume.header["sform_code"])) == (1, 1)
        np.testing.assert_array_equal(image.affine, mask.affine)
        assert len(item["slice_labels"]) == image.shape[2]


def test_a_volume_depends_on_seed_and_index_only(dataset: Path, tmp_path: Path) -> None:
    write_phantoms("fetal_brain", tmp_path / "fewer", n=3, seed=7)
    write_phantoms("fetal_brain", tmp_path / "other", n=3, seed=8)
    for folder in ("images", "labels"):
        for index in range(3):
            name = f"{folder}/fetal_brain_{index:03d}.nii.gz"
            assert voxels(dataset / name).tobytes() == voxels(tmp_path / "fewer" / name).tobytes()
            assert voxels(dataset / name).tobytes() != voxels(tmp_path / "other" / name).tobytes()


@pytest.mark.parametrize(
    ("n", "splits", "sizes"),
    [
        (20, (0.6, 0.15, 0.25), [12, 3, 5]),
        (3, (0.6, 0.15, 0.25), [1, 1, 1]),
        (4, (0.98, 0.01, 0.01), [2, 1, 1]),
        (5, (0.01, 0.01, 0.98), [1, 1, 3]),
    ],
)
def test_every_split_holds_a_volume(
    n: int, splits: tuple[float, float, float], sizes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = Phantom(np.ones((4, 4, 2), np.int16), np.ones((4, 4, 2), np.uint8), np.eye(4))
    monkeypatch.setattr(writer, "make_phantom", lambda kind, seed: tiny)
    content = json.loads(write_phantoms("fetal_brain", tmp_path / "out", n, splits=splits).read_text())
    assert [len(content[split]) for split in ("training", "validation", "test")] == sizes
    images = [item["image"] for split in ("training", "validation", "test") for item in content[split]]
    assert images == [f"images/fetal_brain_{i:03d}.nii.gz" for i in range(n)]


def test_refuses_a_folder_with_content(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"new or empty folder, found 1 entries, the first 'notes.txt'. Choose"):
        write_phantoms("fetal_brain", tmp_path, n=3)
    with pytest.raises(FileExistsError, match=r"new or empty folder, found a file. Choose another folder"):
        write_phantoms("fetal_brain", tmp_path / "notes.txt", n=3)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_accepts_an_empty_folder_and_absent_parents(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert write_phantoms("fetal_brain", tmp_path / "empty", n=3) == tmp_path / "empty" / "dataset.json"
    assert write_phantoms("fetal_brain", tmp_path / "a" / "b", n=3).is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "empty"]


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(kind: str, seed: int) -> Phantom:
        raise KeyboardInterrupt("stopped")

    monkeypatch.setattr(writer, "make_phantom", fail)
    with pytest.raises(KeyboardInterrupt, match="stopped"):
        write_phantoms("fetal_brain", tmp_path / "out", n=3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("n", [2, 0, -1, 3.5, True])
def test_too_few_volumes(n: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(f"Expected n >= 3 volumes, at least one per split, found n = {n}.")):
        write_phantoms("fetal_brain", tmp_path / "out", n=n)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("splits", [(0.5, 0.5), (0.6, 0.4, 0.0), (0.6, 0.3, 0.3), (1.2, -0.1, -0.1)])
def test_wrong_splits(splits: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(f"with sum 1, found {splits}. Correct them.")):
        write_phantoms("fetal_brain", tmp_path / "out", n=6, splits=splits)


def test_unknown_kind_lists_the_kinds(tmp_path: Path) -> None:
    message = re.escape(f"Expected a kind of phantom ({', '.join(sorted(KINDS))}), found 'heart'.")
    with pytest.raises(ValueError, match=message):
        make_phantom("heart", seed=0)
    with pytest.raises(ValueError, match=message):
        write_phantoms("heart", tmp_path / "out", n=3)


def test_the_command_names_every_kind() -> None:
    option = get_type_hints(main.phantom, include_extras=True)["kind"].__metadata__[0]
    assert [kind for kind in KINDS if kind not in option.help] == []


@pytest.mark.parametrize("seed", [-1, 1.5, True])
def test_wrong_seed(seed: Any, tmp_path: Path) -> None:
    message = re.escape(f"Expected a seed that is an integer >= 0, found {seed}. Choose another seed.")
    with pytest.raises(ValueError, match=message):
        make_phantom("fetal_brain", seed)
    with pytest.raises(ValueError, match=message):
        write_phantoms("fetal_brain", tmp_path / "out", n=3, seed=seed)
