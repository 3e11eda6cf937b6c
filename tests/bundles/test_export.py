"""Export by MONAI's ``ckpt_export`` and ``onnx_export``: what each bundle offers, and that it computes the same."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any, NamedTuple

import monai.bundle
import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from tests.bundles.conftest import CFDCAM, LTGRADCAM, OEEM, REPOSITORY, UMCAM, Bundle, infer, inference_knobs
from tests.conftest import blob_volume, write_volume

PAGE = REPOSITORY / "docs/how_to_export.md"


class Exported(NamedTuple):
    """A network that can be exported.

    Attributes:
        bundle: its bundle.
        name: its id in ``inference.yaml``.
        sizes: images ``(B, H, W)`` that the ONNX model takes, the exported size first.
        dynamic: axes of the ONNX model's images that may have any size.
    """

    bundle: Bundle
    name: str
    sizes: tuple[tuple[int, int, int], ...]
    dynamic: dict[int, str]


ANY_SIZE = {0: "batch", 2: "height", 3: "width"}
EXPORTED = (
    Exported(UMCAM, "network_def", ((2, 96, 64), (1, 96, 64), (3, 32, 48)), ANY_SIZE),
    Exported(UMCAM, "classifier", ((2, 96, 64), (1, 96, 64), (3, 33, 50)), ANY_SIZE),
    Exported(CFDCAM, "classifier::network", ((2, 96, 64), (1, 96, 64), (3, 33, 50)), ANY_SIZE),
    Exported(LTGRADCAM, "classifier::network", ((2, 96, 64), (1, 96, 64), (3, 33, 50)), ANY_SIZE),
    Exported(OEEM, "network_def", ((2, 32, 32), (1, 32, 32), (5, 32, 32)), {0: "batch"}),
)
IDS = [f"{item.bundle.name}-{item.name.partition(':')[0]}" for item in EXPORTED]


def knobs(bundle: Bundle) -> dict[str, Any]:
    return {key: value for key, value in inference_knobs(bundle, Path()).items() if "checkpoint" not in key}


def network(bundle: Bundle, name: str) -> torch.nn.Module:
    parser = ConfigParser()
    parser.read_config(bundle.files("inference.yaml"))
    parser.update(knobs(bundle))
    return parser.get_parsed_content(name)


def write_checkpoint(item: Exported, path: Path) -> torch.nn.Module:
    """Weights as after a training: no statistic of a normalisation is what it was at the start."""
    torch.manual_seed(0)
    model = network(item.bundle, item.name)
    for key, value in model.named_buffers():
        if value.is_floating_point():
            torch.nn.init.uniform_(value, 0.5, 1.5) if "var" in key else torch.nn.init.normal_(value, std=0.1)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), path)
    return model.eval()


def files(bundle: Bundle, folder: Path, name: str) -> dict[str, Any]:
    """Arguments of both commands."""
    return {
        "filepath": str(folder / name),
        "ckpt_file": str(folder / "model.pt"),
        "meta_file": bundle.files("metadata.json")[0],
        "config_file": bundle.files("inference.yaml")[0],
        "bundle_root": str(bundle.configs.parent),
    }


def export_onnx(item: Exported, folder: Path) -> None:
    batch, height, width = item.sizes[0]
    channels = 1 if item.bundle is not OEEM else OEEM.tiny["in_channels"]
    options = {"input_names": ["image"], "output_names": ["pred"], "dynamic_axes": {"image": item.dynamic}}
    monai.bundle.onnx_export(
        item.name,
        input_shape=[batch, channels, height, width],
        converter_kwargs=options,
        **files(item.bundle, folder, "model.onnx"),
        **knobs(item.bundle),
    )


@pytest.mark.parametrize("item", EXPORTED, ids=IDS)
def test_torchscript_gives_the_same_logits_at_any_size(item: Exported, tmp_path: Path) -> None:
    model = write_checkpoint(item, tmp_path / "model.pt")
    monai.bundle.ckpt_export(item.name, **files(item.bundle, tmp_path, "model.ts"), **knobs(item.bundle))
    extra = {"metadata.json": "", "inference.json": ""}
    exported = torch.jit.load(tmp_path / "model.ts", _extra_files=extra)
    for size in (*item.sizes, (2, 50, 37)):
        images = torch.rand(size)[:, None]
        with torch.no_grad():
            torch.testing.assert_close(exported(images), model(images), rtol=1e-5, atol=1e-6)
    metadata = json.loads((item.bundle.configs / "metadata.json").read_text())
    assert json.loads(extra["metadata.json"])["network_data_format"] == metadata["network_data_format"]
    assert "preprocessing" in json.loads(extra["inference.json"])


@pytest.mark.parametrize("item", EXPORTED, ids=IDS)
def test_onnx_gives_the_same_logits(item: Exported, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    model = write_checkpoint(item, tmp_path / "model.pt")
    export_onnx(item, tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert [value.name for value in (*session.get_inputs(), *session.get_outputs())] == ["image", "pred"]
    for size in item.sizes:
        images = torch.rand(size)[:, None]
        (found,) = session.run(None, {"image": images.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(found), model(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bundle", [CFDCAM, LTGRADCAM], ids=lambda bundle: bundle.name)
@pytest.mark.parametrize("kind", ["TorchScript", "traced TorchScript", "ONNX"])
def test_cam_bundles_say_what_they_export(bundle: Bundle, kind: str, tmp_path: Path) -> None:
    write_checkpoint(next(item for item in EXPORTED if item.bundle is bundle), tmp_path / "model.pt")
    command = monai.bundle.ckpt_export
    if kind == "ONNX":
        pytest.importorskip("onnxscript", reason="needs the extra onnx")
        command = monai.bundle.onnx_export
    message = (
        r"CAMSegmenter cannot be exported: .*Its classifier can.* classifier::network\. See docs/how_to_export\.md"
    )
    with pytest.raises(RuntimeError, match=message):
        command("network_def", use_trace=kind[:6] == "traced", **files(bundle, tmp_path, "m"), **knobs(bundle))


def test_inference_runs_on_the_torchscript_model(tmp_path: Path) -> None:
    write_checkpoint(EXPORTED[0], tmp_path / "model.pt")
    monai.bundle.ckpt_export("network_def", **files(UMCAM, tmp_path, "model.ts"), **knobs(UMCAM))
    write_volume(tmp_path / "in/a.nii.gz", blob_volume(0)[0])
    scripted = f"$torch.jit.load('{tmp_path / 'model.ts'}')"
    masks = [
        nib.load(infer(UMCAM, tmp_path / "in", tmp_path / name, tmp_path, **override) / "a.nii.gz").get_fdata()
        for name, override in (("plain", {}), ("scripted", {"network_def": scripted}))
    ]
    np.testing.assert_array_equal(*masks)
    assert 0 < masks[0].mean() < 1


def test_code_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    models = tmp_path / "bundles/umcam/models"
    write_checkpoint(EXPORTED[0], models / "model.pt")
    export_onnx(EXPORTED[0], models)
    (models.parent / "configs").symlink_to(UMCAM.configs)
    image = np.pad(blob_volume(0)[0][:, :32], ((11, 0), (0, 0), (0, 0)))  # slices of 64 x 32 pixels once prepared
    write_volume(tmp_path / "in/case.nii.gz", image, np.diag([-1.5, 1.0, 4.0, 1.0]))
    (tmp_path / "case.nii.gz").symlink_to(tmp_path / "in/case.nii.gz")
    (tmp_path / "page.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    runpy.run_path("page.py")
    expected = nib.load(infer(UMCAM, tmp_path / "in", tmp_path / "out", models, pixel_size=1.0) / "case.nii.gz")
    found = nib.load(tmp_path / "case_seg.nii.gz")
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-5)
    assert 0 < expected.get_fdata().mean() < 1
    assert np.mean(found.get_fdata() != expected.get_fdata()) < 0.001
