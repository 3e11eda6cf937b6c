from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from camtools.data import Splits, list_volumes
from camtools.engine import SavePanel, VolumePipeline, VolumesFailedError
from camtools.transforms import LoadVolumed, PrepareVolumed
from tests.conftest import write_volume


def double(data: dict[str, Any]) -> dict[str, Any]:
    return data | {"pred": data["image"] * 2.2}


def make_pipeline(folder: Path, *steps: Callable[[Any], Any], **kwargs: Any) -> VolumePipeline:
    items, outputs = list_volumes(folder / "in"), {"pred": ".nii.gz"}
    return VolumePipeline(
        "test", items, steps or (double,), outputs, folder / "out", prepare=LoadVolumed("image"), **kwargs
    )


def values(path: Path) -> list[float]:
    return sorted({float(value) for value in np.asarray(nib.load(path).dataobj).ravel()})


def test_results_are_written_in_the_type_asked_for(tmp_path: Path) -> None:
    write_volume(tmp_path / "in/sub/a.nii.gz", np.full((3, 4, 2), 7, np.int16))
    make_pipeline(tmp_path).run()
    assert values(tmp_path / "out/sub/a.nii.gz") == pytest.approx([15.4])
    make_pipeline(tmp_path, dtype="uint8").run()
    assert values(tmp_path / "out/sub/a.nii.gz") == pytest.approx([15.4])  # same input: kept
    write_volume(tmp_path / "in/sub/a.nii.gz", np.full((3, 4, 2), 8, np.int16))
    make_pipeline(tmp_path, dtype="uint8").run()
    assert values(tmp_path / "out/sub/a.nii.gz") == [18]  # 17.6, rounded


def test_changed_tags_or_mask_make_a_volume_anew_but_a_touched_file_does_not(tmp_path: Path) -> None:
    image = write_volume(tmp_path / "in/a.nii.gz", np.ones((3, 4, 2), np.int16))
    mask = write_volume(tmp_path / "mask.nii.gz", np.ones((3, 4, 2), np.int16))
    other = write_volume(tmp_path / "other.nii.gz", np.zeros((3, 4, 2), np.int16))
    seen: list[dict[str, Any]] = []

    def record(data: dict[str, Any]) -> dict[str, Any]:
        seen.append(data)
        return double(data)

    given: list[dict[str, Any]] = [
        {},
        {"slice_labels": [0, 1]},
        {"slice_labels": [1, 1]},
        {"slice_labels": [1, 1], "patch_tags": torch.tensor([[[True]], [[False]]])},
        {"slice_labels": [1, 1], "patch_tags": torch.tensor([[[True]], [[True]]])},
        {"label": mask},
        {"label": other},
    ]
    for number, tags in enumerate(given, start=1):
        for _ in range(2):
            item = {"image": image, "case": "a"} | tags
            VolumePipeline("test", [item], [LoadVolumed("image"), record], {"pred": ".nii.gz"}, tmp_path / "out").run()
            os.utime(image)
            assert len(seen) == number


def test_failures_are_collected_and_only_those_are_tried_again(tmp_path: Path) -> None:
    for name in "abc":
        write_volume(tmp_path / f"in/{name}.nii.gz", np.full((3, 4, 2), ord(name), np.int16))
    seen: list[str] = []

    def fail_on_b(data: dict[str, Any]) -> dict[str, Any]:
        seen.append(data["case"])
        if data["case"] == "b":
            raise KeyError("no luck")
        return double(data)

    for expected in (["a", "b", "c"], ["b"]):
        seen.clear()
        with pytest.raises(VolumesFailedError, match=r"test: 1 of 3 volumes failed, the other 2 are done:\n.*no luck"):
            make_pipeline(tmp_path, fail_on_b).run()
        assert seen == expected
    make_pipeline(tmp_path).run()
    assert (tmp_path / "out/b.nii.gz").is_file()


def test_weights_are_loaded_before_the_first_volume(tmp_path: Path) -> None:
    write_volume(tmp_path / "in/a.nii.gz", np.ones((3, 4, 2), np.int16))
    network = torch.nn.Linear(1, 1, bias=False).train()
    torch.save({"weight": torch.tensor([[5.0]])}, tmp_path / "model.pt")

    def apply(data: dict[str, Any]) -> dict[str, Any]:
        return data | {"pred": data["image"] * float(network.weight.detach())}

    make_pipeline(tmp_path, apply, weights=[(network, tmp_path / "model.pt")]).run()
    assert values(tmp_path / "out/a.nii.gz") == [5]
    assert not network.training
    with pytest.raises(FileNotFoundError, match=r"test: expected trained weights at .*gone.pt, found no such file"):
        make_pipeline(tmp_path, apply, weights=[(network, tmp_path / "gone.pt")]).run()


def test_panel_keeps_the_middle_positive_slice(tmp_path: Path) -> None:
    from monai.data import MetaTensor

    def volume(channels: int) -> MetaTensor:
        return MetaTensor(
            torch.rand(channels, 5, 6, 4, generator=torch.Generator().manual_seed(0)), affine=torch.eye(4)
        )

    data: dict[str, Any] = {
        "case": "a",
        "slice_labels": [0, 1, 1, 1],
        "image": volume(2),
        "maps": volume(3),
        "cam": volume(1),
        "spl": volume(1),
    }
    data |= {"foreground_seeds": volume(1) > 0.9, "background_seeds": volume(1) > 0.8}
    recorder = SavePanel(tmp_path, Splits(test=[{"image": "a.nii.gz"}], slice_axis=1), layers=["x", "y", "z"])
    assert recorder(data) is data
    recorder(data | {"case": "b"})
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    panel = np.load(tmp_path / "a.npz", allow_pickle=False)
    assert (int(panel["slice_index"]), int(panel["slice_axis"]), str(panel["case"])) == (2, 1, "a")
    np.testing.assert_array_equal(panel["image"], data["image"][0, ..., 2])
    np.testing.assert_allclose(panel["maps"], data["maps"][..., 2])
    assert panel["layers"].tolist() == ["x", "y", "z"]
    assert panel["foreground_seeds"].dtype == bool
    bare = {key: data[key] for key in ("slice_labels", "image", "maps", "cam")} | {"case": "c", "mask": volume(1) > 0.5}
    SavePanel(tmp_path, Splits(test=[{"image": "c.nii.gz"}]))(bare)
    panel = np.load(tmp_path / "c.npz", allow_pickle=False)
    assert set(panel.files) == {"case", "slice_index", "slice_axis", "image", "cam", "mask"}
    np.testing.assert_array_equal(panel["mask"], bare["mask"][0, ..., 2])


def test_results_of_prepared_volumes_lie_on_the_voxels_of_the_file(tmp_path: Path) -> None:
    affine = np.diag([-4.0, 1.0, -1.0, 1.0])
    array = np.random.default_rng(0).integers(0, 200, (3, 8, 10)).astype(np.int16)
    write_volume(tmp_path / "in/a.nii.gz", array, affine)
    items, outputs = list_volumes(tmp_path / "in"), {"pred": ".nii.gz"}

    def same(data: dict[str, Any]) -> dict[str, Any]:
        assert data["image"].shape[-1] == 3
        return data | {"pred": data["image"].clone()}

    def add_one(data: dict[str, Any]) -> dict[str, Any]:
        return data | {"pred": data["pred"] + 1}

    VolumePipeline("test", items, [same], outputs, tmp_path / "out", prepare=PrepareVolumed(), finish=add_one).run()
    written = nib.load(tmp_path / "out/a.nii.gz")
    np.testing.assert_allclose(written.affine, affine)
    np.testing.assert_array_equal(np.asarray(written.dataobj), array + 1)
    # without "prepare" the pipeline cannot know the way back
    with pytest.raises(VolumesFailedError, match="expected pred on the voxels of its file, found it still turned"):
        VolumePipeline("test", items, [PrepareVolumed(), same], outputs, tmp_path / "other").run()
