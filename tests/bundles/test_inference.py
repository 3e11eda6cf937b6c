"""What every bundle's inference does: NIfTI of every kind, new volumes and models, scores, MONAI's own checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import monai.bundle
import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from camtools.scores.metrics_csv import read_metrics
from tests.bundles.conftest import Bundle, infer, inference_knobs, without_settings
from tests.conftest import blob_volume, oblique_affine, write_volume
from tests.itk_volumes import write_itk


def write_variants(folder: Path) -> None:
    """The same blob in other orientations, slice axes, types and file formats."""
    image = blob_volume(50)[0]
    write_volume(folder / "plain.nii.gz", image)
    write_volume(folder / "sub/float.nii", image.astype(np.float32) / 7)
    write_volume(folder / "flipped.nii.gz", image, oblique_affine(flips=(-1, -1, 1)))
    write_volume(folder / "first_axis.nii.gz", image.transpose(2, 0, 1).copy(), np.diag([5.0, 1.0, 1.0, 1.0]))
    write_volume(folder / "odd_size.nii.gz", np.pad(image, ((3, 2), (0, 5), (0, 1))))


def test_masks_have_the_geometry_of_their_inputs(bundle: Bundle, trained: Path, tmp_path: Path) -> None:
    write_variants(tmp_path / "in")
    masks = infer(bundle, tmp_path / "in", tmp_path / "out", trained / "models")
    for path in (tmp_path / "in").rglob("*.nii*"):
        name = path.relative_to(tmp_path / "in").with_name(path.name.split(".")[0] + ".nii.gz")
        source, mask = nib.load(path), nib.load(masks / name)
        assert mask.shape == source.shape
        assert mask.get_data_dtype() == np.uint8
        np.testing.assert_allclose(mask.affine, source.affine, atol=1e-5)
        assert mask.header.get_xyzt_units() == source.header.get_xyzt_units()
        assert set(np.unique(mask.dataobj)) <= {0, 1}


def bright(self: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Foreground where the image is above the middle of its range."""
    return torch.cat([0.5 - images, images - 0.5], dim=1)


def test_asymmetric_object_is_not_mirrored(
    bundle: Bundle, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{bundle.network}.forward", bright)
    image = np.zeros((20, 24, 5), np.int16)
    image[2:9, 3:6, 1] = 1000
    image[2:5, 3:18, 3] = 1000
    for axis in range(3):
        turned, affine = np.moveaxis(image, 2, axis).copy(), np.diag([1.0, 1.0, 1.0, 1.0])
        affine[axis, axis] = -4.0
        write_volume(tmp_path / f"in/axis{axis}.nii.gz", turned, affine)
    models = without_settings(trained / "models", tmp_path / "models")
    masks = infer(bundle, tmp_path / "in", tmp_path / "out", models, pixel_size=0.5)
    for axis in range(3):
        expected = np.moveaxis(image, 2, axis) > 0
        np.testing.assert_array_equal(nib.load(masks / f"axis{axis}.nii.gz").get_fdata() > 0, expected)


def test_formats_may_be_mixed(bundle: Bundle, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NRRD and MetaImage beside NIfTI: same voxels, same affine, nothing mirrored."""
    monkeypatch.setattr(f"{bundle.network}.forward", bright)
    image = np.zeros((20, 5, 24), np.int16)
    image[2:9, 1, 3:6] = image[2:5, 3, 3:18] = 1000
    affine = oblique_affine((1.0, 4.0, 1.0), flips=(-1, 1, -1))
    write_volume(tmp_path / "in/a.nii.gz", image, affine)
    for name in ("b.nrrd", "sub/c.mha"):
        write_itk(tmp_path / "in" / name, image, affine)
    models = without_settings(trained / "models", tmp_path / "models")
    masks = infer(bundle, tmp_path / "in", tmp_path / "out", models, pixel_size=0.5)
    for name in ("a", "b", "sub/c"):
        mask = nib.load(masks / f"{name}.nii.gz")
        np.testing.assert_array_equal(mask.get_fdata() > 0, image > 0)
        np.testing.assert_allclose(mask.affine, affine, atol=1e-5)


def test_largest_component(bundle: Bundle, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{bundle.network}.forward", bright)
    image = np.zeros((20, 20, 3), np.int16)
    image[2:12, 2:12, 0] = 100
    image[15:17, 15:17, 0] = 100
    write_volume(tmp_path / "in/a.nii.gz", image)
    gate = {} if bundle.name == "oeem" else {"gate": False}
    for largest, voxels in ((False, 104), (True, 100)):
        output = tmp_path / str(largest)
        masks = infer(bundle, tmp_path / "in", output, trained / "models", largest_component=largest, **gate)
        assert np.asarray(nib.load(masks / "a.nii.gz").dataobj).sum() == voxels


def test_new_volumes_are_added_and_a_new_model_starts_over(bundle: Bundle, trained: Path, tmp_path: Path) -> None:
    write_volume(tmp_path / "in/a.nii.gz", blob_volume(1)[0])
    masks = infer(bundle, tmp_path / "in", tmp_path / "out", trained / "models")
    first = (masks / "a.nii.gz").stat().st_mtime_ns
    write_volume(tmp_path / "in/b.nii.gz", blob_volume(2)[0])
    infer(bundle, tmp_path / "in", tmp_path / "out", trained / "models")
    assert (masks / "a.nii.gz").stat().st_mtime_ns == first
    assert (masks / "b.nii.gz").is_file()
    write_volume(tmp_path / "in/a.nii.gz", blob_volume(3)[0])
    infer(bundle, tmp_path / "in", tmp_path / "out", trained / "models")
    assert (masks / "a.nii.gz").stat().st_mtime_ns > first
    state = torch.load(trained / "models/model.pt", weights_only=True)
    torch.save({key: torch.zeros_like(value) for key, value in state.items()}, tmp_path / "model.pt")
    infer(bundle, tmp_path / "in", tmp_path / "out", trained / "models", checkpoint=str(tmp_path / "model.pt"))
    assert (tmp_path / "out/predictions.old-1/a.nii.gz").is_file()


def test_missing_checkpoint_says_what_to_do(bundle: Bundle, tmp_path: Path) -> None:
    write_volume(tmp_path / "in/a.nii.gz", blob_volume(1)[0])
    with pytest.raises(RuntimeError) as failure:
        infer(bundle, tmp_path / "in", tmp_path / "out", tmp_path / "gone")
    assert "model.pt, found none. Run the step that writes it" in str(failure.value.__cause__)


def test_evaluation_overlay_scores_the_test_split(bundle: Bundle, trained: Path, dataset: Path, tmp_path: Path) -> None:
    infer(bundle, dataset, tmp_path, trained / "models", "evaluate.yaml")
    rows = read_metrics(tmp_path / "metrics.csv")
    assert [(row.case, row.output) for row in rows] == [(f"images/case_{k}", "prediction") for k in (5, 6)]
    trained_rows = read_metrics(trained / "run/metrics.csv")
    assert rows == [row for row in trained_rows if (row.split, row.output) == ("test", "prediction")]


def test_network_matches_the_metadata(bundle: Bundle) -> None:
    files = {
        "config_file": str(bundle.configs / "inference.yaml"),
        "meta_file": str(bundle.configs / "metadata.json"),
    }
    monai.bundle.verify_net_in_out("network_def", n=4, device="cpu", bundle_root=str(bundle.configs.parent), **files)
    with pytest.raises(ValueError, match="output channel number `2` doesn't match: `3`"):
        monai.bundle.verify_net_in_out(
            "network_def",
            n=4,
            device="cpu",
            **files,
            **{"_meta_#network_data_format#outputs#pred#num_channels": 3},
        )


def test_properties_of_inference(bundle: Bundle, dataset: Path, tmp_path: Path) -> None:
    workflow = ConfigWorkflow(
        config_file=str(bundle.configs / "inference.yaml"),
        workflow_type="infer",
        dataset_dir=str(dataset),
        output_dir=str(tmp_path),
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    assert len(workflow.dataset_data) == 2


@pytest.mark.usefixtures("bfloat16_in_hardware")
def test_switches_of_inference_change_rounding_alone(bundle: Bundle, trained: Path, tmp_path: Path) -> None:
    def logits(**options: Any) -> torch.Tensor:
        parser = ConfigParser()
        parser.read_config(bundle.files("inference.yaml"))
        known = inference_knobs(bundle, trained / "models") | {"bundle_root": str(bundle.configs.parent)}
        parser.update(known | {"gate": False} | options)
        parser.update({"crf#empty_below": 0.0} if "crf" in parser else {})
        pipeline = parser.get_parsed_content("evaluator")
        (predict,) = pipeline.steps
        predict.network.load_state_dict(torch.load(trained / "models/model.pt", weights_only=True))
        return predict(pipeline.prepare({"image": str(tmp_path / "a.nii.gz")}))["pred"].as_tensor()

    write_volume(tmp_path / "a.nii.gz", blob_volume(50)[0])
    plain = logits()
    assert plain.std() > 0.01
    for channels_last in (True, False):
        torch.testing.assert_close(logits(channels_last=channels_last), plain, rtol=1e-3, atol=1e-3)
    half = logits(amp=True)
    assert not torch.equal(half, plain)
    assert (half - plain).norm() < 0.1 * plain.norm()
