"""Small folders in the layouts of nnU-Net and the Medical Segmentation Decathlon, for the tests of the imports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from camtools.data import load_datalist

AFFINE = np.array([[-1.0, 0, 0, 5], [0, -1, 0, 239], [0, 0, 2, -3], [0, 0, 0, 1]])
SHAPE = (6, 5, 4)


def save(path: Path, array: NDArray[Any], affine: NDArray[Any] = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def picture(seed: int, shape: tuple[int, ...] = SHAPE) -> NDArray[Any]:
    return np.random.default_rng(seed).integers(1, 900, shape).astype(np.int16)


def labels() -> NDArray[Any]:
    """Class 1 in slice 1, class 2 in slices 1 and 2, class 3 in slice 3."""
    array = np.zeros(SHAPE, np.uint8)
    array[1:4, 2, 1], array[4, 2, 1], array[3, 3, 2], array[0, 0, 3] = 1, 2, 2, 3
    return array


def write_json(folder: Path, **content: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(content))


def voxels(path: str | Path) -> NDArray[Any]:
    array: NDArray[Any] = np.asanyarray(nib.load(path).dataobj)
    return array


def items_of(path: Path) -> dict[str, dict[str, Any]]:
    """Items by the name of their image file."""
    splits = ("training", "validation", "test")
    return {Path(item["image"]).name: item for split in splits for item in load_datalist(path.parent, split)}


def nnunet_case(folder: Path, case: str, part: str = "Tr", channels: int = 2, label: bool = True) -> None:
    for channel in range(channels):
        save(folder / f"images{part}" / f"{case}_{channel:04d}.nii.gz", picture(len(case) + ord(case[-1]) + channel))
    if label:
        save(folder / f"labels{part}" / f"{case}.nii.gz", labels())


def nnunet(folder: Path) -> Path:
    """Version 2: two channels, three classes and a region, six cases of three patients."""
    names = {"background": 0, "oedema": 1, "core": 2, "cyst": 3, "whole": [1, 2]}
    write_json(folder, channel_names={"0": "FLAIR", "1": "T1"}, labels=names, numTraining=6, file_ending=".nii.gz")
    for patient in "abc":
        for scan in (1, 2):
            nnunet_case(folder, f"{patient}_{scan}")
    return folder


def msd(folder: Path, channels: int = 3) -> Path:
    """Four cases; the images are 4D where there are several channels."""
    names = ("FLAIR", "T1w", "T2w")[:channels]
    shape = (*SHAPE, channels)[: 3 + (channels > 1)]
    training = []
    for index in range(4):
        name = f"BRATS_{index:03d}.nii.gz"
        save(folder / "imagesTr" / name, picture(index, shape))
        save(folder / "labelsTr" / name, labels())
        training.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    write_json(
        folder,
        name="BRATS",
        modality={str(index): name for index, name in enumerate(names)},
        labels={"0": "background", "1": "edema", "2": "enhancing", "3": "cyst"},
        training=training,
        test=["./imagesTs/BRATS_485.nii.gz"],
    )
    return folder
