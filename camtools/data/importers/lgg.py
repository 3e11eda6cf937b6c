"""The LGG segmentation dataset of Kaggle: one folder per case, one RGB TIFF and one mask per slice."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from camtools.data.errors import DataError
from camtools.data.folders import files_below
from camtools.data.importers.dataset import (
    Case,
    Recipe,
    check_folders,
    describe_mask,
    one_place_each,
    stop_at,
    stop_at_broken_links,
    write_dataset,
)
from camtools.data.importers.patients import split_by_patient

__all__ = ["LGG_MODALITIES", "import_lgg", "lgg_patient"]

# In the order of the colour channels.
LGG_MODALITIES = ("pre", "flair", "post")
_FILE = re.compile(r"(?P<case>.+)_(?P<number>\d+)(?P<mask>_mask)?\.tiff?", re.IGNORECASE)
_DATED = re.compile(r"(?P<patient>TCGA_[^_]+_[^_]+)_\d+", re.IGNORECASE)
# Columns run to the patient's left and rows to the back, as radiologists view axial slices. The source has no
# spacing: 1 mm is nominal.
_AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])


def import_lgg(
    source: str | Path,
    out_dir: str | Path,
    modality: str = "flair",
    split: tuple[float, float, float] = (0.8, 0.1, 0.1),
    seed: int = 0,
) -> Path:
    """Turn the LGG segmentation dataset (Kaggle ``lgg-mri-segmentation``) into a dataset of volumes.

    The slices of every case are stacked in the order of their numbers into ``<case>_image.nii.gz`` (uint8) and
    ``<case>_label.nii.gz`` (uint8, 0 and 1). The first array axis runs along the TIFF's columns and the second along
    its rows, to the patient's left and back; the spacing of 1 mm along all axes is nominal, since the source has none,
    so report distances in pixels.

    Args:
        source: folder of the release (``kaggle_3m``); ``data.csv`` and other files are ignored.
        out_dir: new or empty folder outside ``source``.
        modality: ``"pre"``, ``"flair"`` or ``"post"`` (contrast): the first, second or third colour channel.
        split: fractions of the patients for training, validation and test: positive, with sum 1.
        seed: seed of the split, integer >= 0.

    Returns:
        Path to ``dataset.json``.

    Raises:
        DataError: no cases, a case found twice, missing slices or masks, slices of different size, files that are not
            RGB TIFF (all problems are named at once), or fewer than three patients.
        ValueError: unknown modality, or ``split`` or ``seed`` out of range.
        FileExistsError: ``out_dir`` is a file or holds something else than this import.
    """
    source, out_dir = Path(source), Path(out_dir)
    if modality not in LGG_MODALITIES:
        raise ValueError(f"Expected modality {', '.join(LGG_MODALITIES)}, found {modality!r}. Choose one of them.")
    check_folders(source, out_dir)
    cases = _find_cases(source)
    problems = [problem for case in cases for problem in _size_problems(case)]
    stop_at(problems, source)
    channel = LGG_MODALITIES.index(modality)
    description = f"TCGA-LGG, {modality}, nominal 1 mm spacing (the source has none); label 1 = tumour"
    recipe = Recipe("LGG", description, "tumour", modality, lambda case, folder: _write_case(case, folder, channel))
    homes = split_by_patient({case.name: case.patient for case in cases}, split, seed)
    return write_dataset(cases, source, out_dir, recipe, homes)


def lgg_patient(case: str) -> str:
    """Patient of a case: its name without the date of the scan.

    Example:
        >>> lgg_patient("TCGA_CS_4941_19960909")
        'TCGA_CS_4941'
    """
    match = _DATED.fullmatch(case)
    return match["patient"] if match else case


def _find_cases(source: Path) -> list[Case]:
    """Cases below ``source``; their files are the images in the order of the slices, then the masks in that order."""
    slices: dict[str, dict[int, Path]] = defaultdict(dict)
    masks: dict[str, dict[int, Path]] = defaultdict(dict)
    places: dict[str, list[Path]] = defaultdict(list)
    found = [(path, match) for path in files_below(source) if (match := _FILE.fullmatch(path.name))]
    stop_at_broken_links([path for path, _ in found], source)
    for path, match in found:
        (masks if match["mask"] else slices)[match["case"]][int(match["number"])] = path
        places[f"{match['case']} {int(match['number'])}{match['mask'] or ''}"].append(path)
    if not places:
        raise DataError(
            "Expected files of the LGG dataset such as TCGA_CS_4941_19960909/TCGA_CS_4941_19960909_1.tif, "
            f"found none below {source}. Check the path."
        )
    one_place_each(places)
    names = sorted(set(slices) | set(masks))
    stop_at([problem for name in names for problem in _gaps(slices[name], masks[name], name)], source)
    return [
        Case(name, lgg_patient(name), tuple(part[k] for part in (slices[name], masks[name]) for k in sorted(part)))
        for name in names
    ]


def _gaps(slices: dict[int, Path], masks: dict[int, Path], case: str) -> list[str]:
    """Slices and masks that are missing: the numbers run from 1 (or 0) without a gap, with a mask for each."""
    numbers = set(slices) | set(masks)
    missing = sorted(set(range(min(1, *numbers), max(numbers) + 1)) - numbers)
    problems = [f"{case}: slice {case}_{number}.tif and its mask are missing" for number in missing]
    problems += [f"{masks[k]} has no image {case}_{k}.tif" for k in sorted(set(masks) - set(slices))]
    problems += [f"{slices[k]} has no mask {case}_{k}_mask.tif" for k in sorted(set(slices) - set(masks))]
    return problems


def _size_problems(case: Case) -> list[str]:
    """Files that cannot be opened, are not in colour, or differ in size from the first slice of their case."""
    problems, size = [], None
    for index, path in enumerate(case.files):
        try:
            with Image.open(path) as picture:
                found, mode = picture.size, picture.mode
        except Exception:  # Pillow raises many kinds
            problems.append(f"{path} cannot be read (no picture, or one whose header is incomplete or corrupt)")
            continue
        size = size or found
        if found != size:
            problems.append(f"{path} has {found} pixels, expected {size} as in {case.files[0].name}")
        if index < len(case.files) // 2 and mode != "RGB":
            problems.append(f"{path} is of mode {mode}, expected RGB (pre-contrast, FLAIR, post-contrast)")
    return problems


def _write_case(case: Case, folder: Path, channel: int) -> dict[str, Any]:
    """Stack the slices of a case, write image and mask, and return the item."""
    count = len(case.files) // 2
    image = np.stack([_pixels(path, "RGB")[:, :, channel].T for path in case.files[:count]], axis=-1)
    mask = np.stack([_binary(path).T for path in case.files[count:]], axis=-1)
    item: dict[str, Any] = {"image": f"{case.name}_image.nii.gz", "label": f"{case.name}_label.nii.gz"}
    for key, voxels in (("image", image), ("label", mask)):
        volume = nib.Nifti1Image(voxels, _AFFINE)
        volume.header.set_xyzt_units("mm")
        nib.save(volume, folder / item[key])
    return item | describe_mask(mask, _AFFINE)


def _binary(path: Path) -> NDArray[Any]:
    """Mask of a slice, ``(rows, columns)`` uint8, 0 and 1; stop at grey values, whose meaning would be a guess."""
    pixels = _pixels(path, "L")
    values = np.unique(pixels)
    if not set(values.tolist()) <= {0, 1, 255}:
        raise DataError(f"Expected 0 and 255 in the mask {path}, found {values[:8].tolist()}. Copy the file again.")
    return (pixels > 0).astype(np.uint8)


def _pixels(path: Path, mode: str) -> NDArray[Any]:
    """Pixels of a TIFF, ``(rows, columns)`` and channels where there are several."""
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert(mode))
    except Exception as error:  # Pillow raises many kinds
        raise DataError(f"{path} cannot be read (its pixels are corrupt). Copy the file again.") from error
