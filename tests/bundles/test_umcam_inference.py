"""bundles/umcam: 3D inference on NIfTI of every kind, broken volumes, evaluation, MONAI's own checks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import monai.bundle
import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow

from camtools.engine.metrics_csv import read_metrics
from tests.bundles.conftest import CONFIGS, TINY, infer
from tests.conftest import blob_volume, oblique_affine, write_volume


def write_variants(folder: Path) -> None:
    """The same blob in other orientations, slice axes, types and file formats."""
    image = blob_volume(50)[0]
    write_volume(folder / "plain.nii.gz", image)
    write_volume(folder / "sub/float.nii", image.astype(np.float32) / 7)
    write_volume(folder / "flipped.nii.gz", image, oblique_affine(flips=(-1, -1, 1)))
    write_volume(folder / "first_axis.nii.gz", image.transpose(2, 0, 1).copy(), np.diag([5.0, 1.0, 1.0, 1.0]))
    write_volume(folder / "odd_size.nii.gz", np.pad(image, ((3, 2), (0, 5), (0, 1))))


def test_masks_have_the_geometry_of_their_inputs(trained: Path, tmp_path: Path) -> None:
    write_variants(tmp_path / "in")
    masks = infer(tmp_path / "in", tmp_path / "out", trained / "models")
    for path in (tmp_path / "in").rglob("*.nii*"):
        name = path.relative_to(tmp_path / "in").with_name(path.name.split(".")[0] + ".nii.gz")
        source, mask = nib.load(path), nib.load(masks / name)
        assert mask.shape == source.shape
        assert mask.get_data_dtype() == np.uint8
        np.testing.assert_allclose(mask.affine, source.affine, atol=1e-5)
        assert mask.header.get_xyzt_units() == source.header.get_xyzt_units()
        assert set(np.unique(mask.dataobj)) <= {0, 1}


def threshold_model(models: Path) -> None:
    """Replace the segmenter by one whose mask is known: foreground where the image is bright."""
    network = monai.networks.nets.BasicUNet(2, 1, 2, features=TINY["features"])
    state = {key: torch.zeros_like(value) for key, value in network.state_dict().items()}
    torch.save(state, models / "model.pt")


def test_asymmetric_object_is_not_mirrored(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bright(self: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([0.5 - images, images - 0.5], dim=1)

    monkeypatch.setattr(monai.networks.nets.BasicUNet, "forward", bright)
    image = np.zeros((20, 24, 5), np.int16)
    image[2:9, 3:6, 1] = 1000
    image[2:5, 3:18, 3] = 1000
    for axis in range(3):
        turned, affine = np.moveaxis(image, 2, axis).copy(), np.diag([1.0, 1.0, 1.0, 1.0])
        affine[axis, axis] = -4.0
        write_volume(tmp_path / f"in/axis{axis}.nii.gz", turned, affine)
    masks = infer(tmp_path / "in", tmp_path / "out", trained / "models", pixel_size=0.5)
    for axis in range(3):
        expected = np.moveaxis(image, 2, axis) > 0
        np.testing.assert_array_equal(nib.load(masks / f"axis{axis}.nii.gz").get_fdata() > 0, expected)


def test_gate_and_largest_component(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bright(self: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([0.5 - images, images - 0.5], dim=1)

    def bright_on_the_whole(self: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        score = images.mean(dim=(1, 2, 3))[:, None] - 0.1
        return torch.cat([-score, score], dim=1)

    monkeypatch.setattr(monai.networks.nets.BasicUNet, "forward", bright)
    monkeypatch.setattr("camtools.networks.VGG16CAM.forward", bright_on_the_whole)
    image = np.zeros((20, 20, 3), np.int16)
    image[2:12, 2:12, 0] = 100
    image[15:17, 15:17, 0] = 100
    image[0:3, 0:3, 2] = 100
    write_volume(tmp_path / "in/a.nii.gz", image)

    def mask(name: str, **options: bool) -> np.ndarray:
        folder = infer(tmp_path / "in", tmp_path / name, trained / "models", **options)
        return np.asarray(nib.load(folder / "a.nii.gz").dataobj)

    np.testing.assert_array_equal(mask("plain"), image > 0)
    gated = mask("gated", gate=True)
    assert gated[..., 2].sum() == 0
    np.testing.assert_array_equal(gated[..., 0], image[..., 0] > 0)
    assert mask("largest", largest_component=True).sum() == 100


def test_broken_volume_does_not_lose_the_others(trained: Path, tmp_path: Path) -> None:
    for name in ("a", "c"):
        write_volume(tmp_path / f"in/{name}.nii.gz", blob_volume(1)[0])
    (tmp_path / "in/b.nii.gz").write_bytes(b"not an image")
    broken = blob_volume(2)[0].astype(np.float32)
    broken[0, 0, 0] = np.nan
    write_volume(tmp_path / "in/d.nii.gz", broken)
    places = ["--dataset_dir", str(tmp_path / "in"), "--output_dir", str(tmp_path / "out")]
    models = ["--checkpoint", str(trained / "models/model.pt")]
    tiny = [f"--features={TINY['features']}", "--pixel_size=None", "--device=cpu"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "monai.bundle",
            "run",
            "--config_file",
            "configs/inference.yaml",
            *places,
            *models,
            *tiny,
        ],
        cwd=CONFIGS.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    last = done.stderr.rstrip().splitlines()[-3:]
    assert "Error: predict: 2 of 4 volumes failed, the other 2 are done" in last[0]
    assert "in/b.nii.gz cannot be read" in last[1]
    assert "in/d.nii.gz holds 1 NaN or infinite voxels" in last[2]
    assert sorted(path.name for path in (tmp_path / "out/predictions").glob("*.nii.gz")) == ["a.nii.gz", "c.nii.gz"]


def test_new_volumes_are_added_and_a_new_model_starts_over(trained: Path, tmp_path: Path) -> None:
    write_volume(tmp_path / "in/a.nii.gz", blob_volume(1)[0])
    masks = infer(tmp_path / "in", tmp_path / "out", trained / "models")
    first = (masks / "a.nii.gz").stat().st_mtime_ns
    write_volume(tmp_path / "in/b.nii.gz", blob_volume(2)[0])
    infer(tmp_path / "in", tmp_path / "out", trained / "models")
    assert (masks / "a.nii.gz").stat().st_mtime_ns == first
    assert (masks / "b.nii.gz").is_file()
    write_volume(tmp_path / "in/a.nii.gz", blob_volume(3)[0])
    infer(tmp_path / "in", tmp_path / "out", trained / "models")
    assert (masks / "a.nii.gz").stat().st_mtime_ns > first
    threshold_model(tmp_path)
    infer(tmp_path / "in", tmp_path / "out", trained / "models", checkpoint=str(tmp_path / "model.pt"))
    assert (tmp_path / "out/predictions.old-1/a.nii.gz").is_file()


def test_missing_checkpoint_says_what_to_do(tmp_path: Path) -> None:
    write_volume(tmp_path / "in/a.nii.gz", blob_volume(1)[0])
    with pytest.raises(RuntimeError) as failure:
        infer(tmp_path / "in", tmp_path / "out", tmp_path / "gone")
    assert "model.pt, found none. Run the step that writes it" in str(failure.value.__cause__)


def test_evaluation_overlay_scores_the_test_split(trained: Path, dataset: Path, tmp_path: Path) -> None:
    infer(dataset, tmp_path, trained / "models", "evaluate.yaml")
    rows = read_metrics(tmp_path / "metrics.csv")
    assert [(row.case, row.output) for row in rows] == [("case_5", "prediction"), ("case_6", "prediction")]


def test_network_matches_the_metadata() -> None:
    files = {"config_file": str(CONFIGS / "inference.yaml"), "meta_file": str(CONFIGS / "metadata.json")}
    monai.bundle.verify_net_in_out("network_def", n=4, device="cpu", bundle_root=str(CONFIGS.parent), **files)
    with pytest.raises(ValueError, match="output channel number `2` doesn't match: `3`"):
        monai.bundle.verify_net_in_out(
            "network_def",
            n=4,
            device="cpu",
            **files,
            **{"_meta_#network_data_format#outputs#pred#num_channels": 3},
        )


def test_exported_segmenter_gives_the_same_logits(trained: Path, tmp_path: Path) -> None:
    monai.bundle.ckpt_export(
        "network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(trained / "models/model.pt"),
        meta_file=str(CONFIGS / "metadata.json"),
        config_file=str(CONFIGS / "inference.yaml"),
        bundle_root=str(CONFIGS.parent),
        features=TINY["features"],
    )
    network = monai.networks.nets.BasicUNet(2, 1, 2, features=TINY["features"])
    network.load_state_dict(torch.load(trained / "models/model.pt", weights_only=True))
    images = torch.rand(2, 1, 48, 32)
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.load(tmp_path / "model.ts")(images), network.eval()(images))


def test_properties_of_inference(dataset: Path, tmp_path: Path) -> None:
    workflow = ConfigWorkflow(
        config_file=str(CONFIGS / "inference.yaml"),
        workflow_type="infer",
        dataset_dir=str(dataset),
        output_dir=str(tmp_path),
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    assert len(workflow.dataset_data) == 2
