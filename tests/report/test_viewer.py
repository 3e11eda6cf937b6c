from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from camtools.data.files import save_like, write_json
from camtools.report.case_slices import CaseSlices, choose_slices, read_case
from camtools.report.cells import BACKGROUND_COLOUR, FOREGROUND_COLOUR
from camtools.report.content import read_run
from camtools.report.overlays import draw_layer, draw_slice
from camtools.report.sheet import sheet_rows
from tests.conftest import oblique_affine, write_volume
from tests.report_runs import SHAPE, SLICE, change_rows, corner_mask, make_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run_a")


def slices_of(layers: dict[str, np.ndarray], **changes: Any) -> CaseSlices:
    images = np.zeros((1, 20, 24))
    fixed: dict[str, Any] = {"case": "a", "split": "test", "total": 6, "indices": (0,), "start": 0, "size": (48, 40)}
    return CaseSlices(**(fixed | {"images": images, "layers": layers, "notes": ()} | changes))


# ------------------------------------------------------------------ one case


def test_case_has_all_slices_and_layers(run: Path) -> None:
    found = read_case(read_run(run), "case_1")
    assert (found.total, found.indices, found.start) == (6, (0, 1, 2, 3, 4, 5), SLICE)
    assert found.images.shape == (6, 20, 24)
    assert list(found.layers) == ["map", "pseudo_label", "prediction", "truth"]
    assert found.size == (512, 427)
    truth = found.layers["truth"]
    assert truth[[0, 1, 2, 3, 5]].sum() == 0
    assert np.array_equal(truth[SLICE], corner_mask()[..., SLICE].T[::-1])
    assert found.layers["map"].max() == 0.5


@pytest.mark.parametrize(
    ("channels", "shape", "note"), [(4, (6, 20, 24), "first of 4"), (3, (6, 20, 24, 3), "red, gr")]
)
def test_several_channels_are_shown_as_the_notes_say(
    run: Path, channels: int, shape: tuple[int, ...], note: str
) -> None:
    path = run / "data/case_1.nii.gz"
    image = np.stack([corner_mask() * (1 + number) for number in range(channels)], axis=-1)
    image[..., 1] = 1 - corner_mask()
    write_volume(run / "image.nii.gz", image)
    content = change_rows(run, "case_1", image=str(run / "image.nii.gz"), label=str(path), channels=channels)
    found = read_case(content, "case_1")
    assert found.images.shape == shape
    first = found.images if channels == 4 else found.images[..., 0]
    assert np.array_equal(first[SLICE] > 0.5, corner_mask()[..., SLICE].T[::-1] > 0)
    assert note in found.notes[0]
    row = next(row for row in sheet_rows(content) if row.case == "case_1")
    assert note in row.notes[0]


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SRA", "IAL", "PSR", "AIL"])
def test_nothing_is_mirrored_whatever_the_order_of_voxels(run: Path, codes: str) -> None:
    for path in (run / "data/case_1.nii.gz", run / "predictions/case_1.nii.gz", *run.glob("pseudo_labels/case_1_*")):
        image = nib.load(path)
        turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(codes))
        nib.save(nib.Nifti1Image.from_bytes(image.as_reoriented(turn).to_bytes()), path)
    found = read_case(read_run(run), "case_1")
    shown = SHAPE[2] - 1 - SLICE if "I" in codes else SLICE
    assert found.start == shown
    expected = corner_mask()[..., SLICE].T[::-1]
    for key, factor in (("truth", 1.0), ("map", 0.5), ("pseudo_label", 0.5)):
        assert np.array_equal(found.layers[key][shown], factor * expected)
    assert np.array_equal(found.images[shown] > 0.5, expected > 0)
    assert np.array_equal(found.layers["prediction"][shown], np.roll(corner_mask(), 1, axis=0)[..., SLICE].T[::-1])


@pytest.mark.parametrize(
    ("config", "slices"), [({"slice_axis": 0}, SHAPE[0]), ({"slice_axis": "$None"}, 6), ({}, 6), (None, 6)]
)
def test_slice_axis_of_the_run_is_taken(run: Path, config: dict[str, Any] | None, slices: int) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    write_json(manifest | {"config": config}, run / "manifest.json")
    assert read_case(read_run(run), "case_1").total == slices


def test_masks_of_training_cases_are_not_read(run: Path) -> None:
    found = read_case(change_rows(run, "case_1", split="training"), "case_1")
    assert list(found.layers) == ["map", "pseudo_label", "prediction"]


def test_pixels_are_square(run: Path) -> None:
    path = write_volume(run / "wide.nii.gz", np.zeros((20, 20, 6)), oblique_affine((2.0, 1.0, 5.0)))
    assert read_case(change_rows(run, "case_1", image=path, label=None), "case_1").size == (512, 256)


def test_photograph_is_upright_and_keeps_its_colours(run: Path) -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:5, 20:] = (200, 120, 40)
    Image.fromarray(pixels).save(run / "slide.png")
    Image.fromarray((pixels[..., 0] > 0).astype(np.uint8)).save(run / "mask.png")
    mask = (pixels[..., 0] > 0).T[..., None].astype(np.uint8)
    save_like(mask, np.eye(4), run / "slide.png", run / "predictions/case_1.nii.gz")
    content = change_rows(run, "case_1", image=str(run / "slide.png"), label=str(run / "mask.png"))
    found = read_case(content, "case_1")
    assert (found.total, found.images.shape) == (1, (1, 20, 30, 3))
    assert np.array_equal(found.layers["truth"][0], found.layers["prediction"][0])
    assert np.array_equal(found.layers["truth"][0], pixels[..., 0] > 0)
    drawn = np.asarray(draw_slice(found, 0)).astype(int)
    assert drawn.shape == pixels.shape, "not enlarged"
    assert np.abs(drawn - pixels).max() < 30
    assert "expected the shape of the image, (30, 20, 1), found (24, 20, 6)" in found.notes[0]


def test_one_window_for_all_slices(run: Path) -> None:
    array = np.zeros((20, 20, 4))
    array[..., 1], array[..., 2] = 50, 100
    path = write_volume(run / "steps.nii.gz", array)
    found = read_case(change_rows(run, "case_1", image=path, label=None), "case_1")
    assert found.images.mean(axis=(1, 2)).tolist() == [0, 0.5, 1, 0]


def test_files_that_do_not_fit_are_named(run: Path) -> None:
    (run / "predictions/case_1.nii.gz").write_text("x")
    write_volume(run / "pseudo_labels/case_1_cam.nii.gz", corner_mask()[..., :3])
    found = read_case(read_run(run), "case_1")
    assert list(found.layers) == ["pseudo_label", "truth"]
    assert found.notes[0] == (
        "Map: expected the shape of the image, (24, 20, 6), found (24, 20, 3) in case_1_cam.nii.gz."
    )
    assert found.notes[1].startswith("Prediction: ")
    assert "Expected gzip-compressed NIfTI data, found a text file" in found.notes[1]


def test_mask_is_the_pseudo_label_of_methods_without_probabilities(run: Path, tmp_path: Path) -> None:
    (run / "pseudo_labels").rename(tmp_path / "shared")
    (tmp_path / "shared/case_1_spl.nii.gz").unlink()
    write_volume(tmp_path / "shared/case_1_mask.nii.gz", corner_mask())
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["stages"]["pseudo_label"] = {"folder": str(tmp_path / "shared")}
    write_json(manifest, run / "manifest.json")
    found = read_case(read_run(run), "case_1")
    assert found.layers["pseudo_label"].max() == 1
    assert found.layers["map"].max() == 0.5


def test_masks_of_the_step_threshold_are_the_pseudo_labels_of_a_baseline(run: Path) -> None:
    write_volume(run / "pseudo_masks/case_1_mask.nii.gz", corner_mask())
    manifest = json.loads((run / "manifest.json").read_text())
    methods = {"gradcam": {"labels": ["mask"]}, "spl": {"labels": ["cam", "spl"]}}
    # masks of an earlier method may lie in the folder
    for method, pseudo_label, columns in (("gradcam", 1, {"Pseudo-mask"}), ("spl", 0.5, {"Seeds", "Pseudo-label"})):
        manifest["config"] |= {"threshold": {}, "methods": methods, "method": method}
        write_json(manifest, run / "manifest.json")
        found = read_run(run)
        assert read_case(found, "case_1").layers["pseudo_label"].max() == pseudo_label
        row = sheet_rows(found)[0]
        assert set(row.cells) & {"Pseudo-mask", "Seeds", "Pseudo-label"} == columns
        assert row.notes == ()


def test_slices_of_a_long_volume() -> None:
    weights = np.zeros(155)
    weights[60:130] = 1
    chosen = choose_slices(155, weights)
    assert chosen == sorted(set(chosen))
    assert {0, 60, 129, 154} <= set(chosen)
    assert len([index for index in chosen if not 60 <= index < 130]) == 13
    assert 24 < len(chosen) <= 48
    weights[:] = 0
    weights[77] = 1
    assert 77 in choose_slices(155, weights)
    assert len(choose_slices(155, weights)) == 25


# ------------------------------------------------------------------ pictures


def test_masks_are_outlined_and_predictions_lightly_filled() -> None:
    mask = np.zeros((1, 20, 24))
    mask[0, 4:16, 4:20] = 1
    view = slices_of({"truth": mask, "prediction": mask, "pseudo_label": np.zeros_like(mask)})
    for key, colour, inside in (("truth", FOREGROUND_COLOUR, 0), ("prediction", BACKGROUND_COLOUR, 55)):
        layer = draw_layer(view, key, 0)
        assert layer is not None
        drawn = np.asarray(layer.convert("RGBA"))
        assert drawn.shape == (40, 48, 4)
        assert drawn[20, 8].tolist() == [*colour, 255], "rim"
        assert drawn[20, 24].tolist() == [*colour, inside]
        assert drawn[2, 2, 3] == 0
    assert draw_layer(view, "pseudo_label", 0) is None


@pytest.mark.parametrize("key", ["map", "pseudo_label"])
def test_higher_values_are_more_opaque(key: str) -> None:
    ramp = np.broadcast_to(np.linspace(0, 1, 24), (1, 20, 24))
    layer = draw_layer(slices_of({key: ramp}), key, 0)
    assert layer is not None
    alpha = np.asarray(layer.convert("RGBA"))[10, :, 3].astype(int)
    assert alpha[0] == 0
    assert alpha[-1] == 255
    assert (np.diff(alpha) >= 0).all()
    assert len(np.asarray(layer)) == 20, "half the page's size"


def test_slices_are_reduced_and_not_enlarged() -> None:
    assert draw_slice(slices_of({}), 0).size == (24, 20)
    large = slices_of({}, images=np.zeros((1, 400, 480)), size=(512, 427))
    assert draw_slice(large, 0).size == (256, 214)
    assert draw_slice(slices_of({}, images=np.zeros((1, 400, 480)), size=(512, 427), total=1), 0).size == (480, 400)
