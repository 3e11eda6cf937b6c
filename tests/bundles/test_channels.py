"""Volumes of four channels, as those of BraTS, in every bundle: training, maps, masks, pictures, and the own bundle."""

from __future__ import annotations

import json
import re
from pathlib import Path

import monai.bundle
import nibabel as nib
import numpy as np
import pytest

from camtools.data.errors import reason
from camtools.data.importers import import_nnunet
from camtools.data.importers.choices import Choices
from tests.bundles.conftest import Bundle, make_once, train
from tests.conftest import blob_volume, write_volume

NAMES = ("T1", "T1ce", "T2", "FLAIR")
SHAPE = (32, 36, 4)


def write_release(folder: Path) -> None:
    """A raw dataset of nnU-Net: one file for each channel, the object bright in two of four, and one fold."""
    cases = [f"p{number}" for number in range(4)]
    for seed, case in enumerate(cases):
        image, mask = blob_volume(seed, SHAPE)
        noise = np.random.default_rng(seed).normal(100, 10, SHAPE).astype(np.int16)
        for number, values in enumerate((noise, image, 250 - image, image // 2)):
            write_volume(folder / f"imagesTr/{case}_{number:04d}.nii.gz", values)
        write_volume(folder / f"labelsTr/{case}.nii.gz", mask)
    names = {str(number): name for number, name in enumerate(NAMES)}
    content = {"channel_names": names, "labels": {"background": 0, "tumour": 1}, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(content))
    (folder / "splits_final.json").write_text(json.dumps([{"train": cases[:3], "val": cases[3:]}]))


@pytest.fixture(scope="session")
def four_channels(shared_folder: Path) -> Path:
    """The dataset that the import makes of the release."""

    def write(folder: Path) -> None:
        write_release(folder / "release")
        import_nnunet(folder / "release", folder / "data", Choices("all"))

    return make_once(shared_folder / "four", write) / "data"


def test_four_channels(bundle: Bundle, four_channels: Path, tmp_path: Path) -> None:
    run = train(bundle, four_channels, tmp_path, **(bundle.short | {"in_channels": 4}))
    image = nib.load(four_channels / "p3_image.nii.gz")
    assert image.shape == (*SHAPE, 4)
    for file in [run / "predictions/p3_image.nii.gz", *run.glob("pseudo_labels/p3_image_*.nii.gz")]:
        written = nib.load(file)
        assert written.shape == SHAPE
        np.testing.assert_array_equal(written.affine, image.affine)
        assert written.header.get_xyzt_units() == image.header.get_xyzt_units()
    assert {row["channels"] for row in json.loads((run / "dataset_check.json").read_text())} == {4}
    assert "Pictures show the first of 4 channels of the image." in (run / "report.html").read_text()
    metadata = json.loads((run / "bundle/configs/metadata.json").read_text())
    described = metadata["network_data_format"]["inputs"]["image"]
    assert described["num_channels"] == 4
    assert list(described["channel_def"].values()) == list(NAMES)
    check_own_bundle(run / "bundle", four_channels / "p3_image.nii.gz", run, tmp_path)


def check_own_bundle(own: Path, image: Path, run: Path, folder: Path) -> None:
    """It needs no knob, gives the masks of the run, and refuses an image of one channel."""
    (folder / "new").mkdir()
    (folder / "new/p3.nii.gz").write_bytes(image.read_bytes())
    write_volume(folder / "new/one.nii.gz", blob_volume(9, SHAPE)[0])
    file = str(own / "configs/inference.yaml")
    with pytest.raises(RuntimeError) as failure:
        monai.bundle.run(
            config_file=file, dataset_dir=str(folder / "new"), output_dir=str(folder / "out"), device="cpu"
        )
    found = r"Expected 4 channels as input of the network, found 1 .*one.nii.gz.*camtools channels"
    assert re.search(found, reason(failure.value))
    np.testing.assert_array_equal(
        nib.load(folder / "out/predictions/p3.nii.gz").get_fdata(),
        nib.load(run / "predictions/p3_image.nii.gz").get_fdata(),
    )
