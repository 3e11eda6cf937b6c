"""Activation maps of a cohort with a trained bundle: the training's maps, in the geometry of the inputs."""

from __future__ import annotations

import shutil
from collections import OrderedDict
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from camtools.data import load_datalist
from tests.bundles.conftest import Bundle, infer
from tests.bundles.files import values
from tests.conftest import blob_volume, oblique_affine, write_volume


def map_volumes(bundle: Bundle, data: Path, output: Path, trained: Path, **overrides: object) -> Path:
    """Run the stage of the maps alone; returns their folder."""
    infer(bundle, data, output, trained / "models", run_id="maps", **overrides)
    assert not (output / "predictions").exists()
    return output / "maps"


def test_maps_are_those_of_the_training_without_tags(
    bundle: Bundle, trained: Path, dataset: Path, tmp_path: Path
) -> None:
    maps = map_volumes(bundle, dataset, tmp_path, trained)
    kind = "cam" if bundle.patches is None else "unrefined"
    for item in load_datalist(dataset, "test"):
        written = nib.load(maps / f"{item['case']}_cam.nii.gz")
        assert written.get_data_dtype() == np.float32
        found, expected = written.get_fdata(), values(trained / f"run/pseudo_labels/{item['case']}_{kind}.nii.gz")
        positive = [2, 3] if bundle.patches is None else list(range(6))
        np.testing.assert_allclose(found[..., positive], expected[..., positive], atol=1e-6)
        assert 0 <= found.min() < found.max() <= 1
        assert bool(found[..., [0, 1, 4, 5]].max() > 0)  # slices without object have their maps, too


def show_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every map the image itself."""
    for name in ("GradCAM", "CfdCAM", "LTGradCAM", "MirroredMaps"):
        monkeypatch.setattr(f"camtools.cams.{name}.__call__", lambda self, images, target: images)
    monkeypatch.setattr("camtools.cams.PatchClassMaps.patch_scores", lambda self, images: images)
    monkeypatch.setattr("camtools.cams.PatchClassMaps.stitch", lambda self, images, *rest: images.repeat(1, 2, 1, 1))


def forget_settings(models: Path, target: Path) -> None:
    """Copy trained files, weights without the settings of their training, so that others can be tried."""
    shutil.copytree(models, target)
    for path in target.glob("*.pt"):
        torch.save(OrderedDict(torch.load(path, weights_only=True)), path)


def test_maps_are_not_mirrored(bundle: Bundle, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    show_images(monkeypatch)
    image = np.zeros((20, 24, 5), np.int16)
    image[2:9, 3:6, 1] = 1000
    image[2:5, 3:18, 3] = 1000
    for axis in range(3):
        affine = oblique_affine(flips=(1, -1, -1)) @ np.diag([1.0, 1.0, 0.2, 1.0])  # 1 mm along every axis
        affine[:3, axis] *= 5
        write_volume(tmp_path / f"in/sub/axis{axis}.nii.gz", np.moveaxis(image, 2, axis).copy(), affine)
    forget_settings(trained / "models", tmp_path / "models")
    maps = map_volumes(bundle, tmp_path / "in", tmp_path / "out", tmp_path, pixel_size=0.5)
    for axis in range(3):
        source = nib.load(tmp_path / f"in/sub/axis{axis}.nii.gz")
        written = nib.load(maps / f"sub/axis{axis}_cam.nii.gz")
        np.testing.assert_array_equal(written.get_fdata() > 0.5, source.get_fdata() > 0)
        np.testing.assert_allclose(written.affine, source.affine, atol=1e-5)
        assert written.header.get_xyzt_units() == source.header.get_xyzt_units()


def test_maps_depend_on_the_weights_of_the_classifier(bundle: Bundle, trained: Path, tmp_path: Path) -> None:
    write_volume(tmp_path / "in/a.nii.gz", blob_volume(1)[0])
    first = map_volumes(bundle, tmp_path / "in", tmp_path / "out", trained) / "a_cam.nii.gz"
    stamp = first.stat().st_mtime_ns
    map_volumes(bundle, tmp_path / "in", tmp_path / "out", trained)
    assert first.stat().st_mtime_ns == stamp
    weights = "classifier.pt" if "classifier.pt" in bundle.models else "model.pt"
    state = torch.load(trained / "models" / weights, weights_only=True)
    torch.save({key: value * 0.5 for key, value in state.items()}, tmp_path / weights)
    infer(
        bundle,
        tmp_path / "in",
        tmp_path / "out",
        trained / "models",
        run_id="maps",
        **{"classifier_checkpoint" if weights == "classifier.pt" else "checkpoint": str(tmp_path / weights)},
    )
    assert (tmp_path / "out/maps.old-1/a_cam.nii.gz").is_file()


def test_missing_classifier_says_what_to_do(bundle: Bundle, tmp_path: Path) -> None:
    write_volume(tmp_path / "in/a.nii.gz", blob_volume(1)[0])
    with pytest.raises(RuntimeError) as failure:
        infer(bundle, tmp_path / "in", tmp_path / "out", tmp_path / "gone", run_id="maps")
    assert ".pt, found none. Run the step that writes it" in str(failure.value.__cause__)
