"""BraTS releases: one folder per case, one NIfTI per sequence, a segmentation with several labels."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from camtools.data.errors import DataError, damaged
from camtools.data.files import save_like
from camtools.data.folders import files_below
from camtools.data.importers.channel_files import join_channels
from camtools.data.importers.dataset import (
    Case,
    Recipe,
    check_folders,
    describe_mask,
    one_place_each,
    stop_at_broken_links,
    write_dataset,
)
from camtools.data.importers.labelled import link_or_copy, suffix_of
from camtools.data.importers.patients import split_by_patient
from camtools.data.volumes import read_mask

__all__ = ["BRATS_MODALITIES", "brats_patient", "import_brats"]

BRATS_MODALITIES = ("flair", "t1", "t1ce", "t2")
# Names of the sequences since 2023.
_NEW_NAMES = {"t1n": "t1", "t1c": "t1ce", "t2w": "t2", "t2f": "flair"}
_FILE = re.compile(r"(?P<case>.+)[_-](?P<kind>t1|t1ce|t2|flair|seg|t1n|t1c|t2w|t2f)\.nii(\.gz)?", re.IGNORECASE)
# Releases whose case names end in the number of the scan: 2017 to 2019, and 2023 on.
_WITH_SCAN = re.compile(r"(?P<patient>brats1\d_[^_]+_[^_]+)_\d+|(?P<patient_new>brats-[a-z]+-\d+)-\d+", re.IGNORECASE)


def import_brats(
    source: str | Path,
    out_dir: str | Path,
    modality: str = "flair",
    split: tuple[float, float, float] = (0.8, 0.1, 0.1),
    seed: int = 0,
) -> Path:
    """Turn a BraTS training release into a dataset whose object is the whole tumour (every label above 0).

    Every case becomes ``<case>_image.nii.gz``, a hard link to the source's file (a copy where the file system has no
    hard links, or ``out_dir`` is on another one), or one 4D file of several modalities, and
    ``<case>_label.nii.gz``, uint8, 0 and 1. Cases without a segmentation are left out;
    ``dataset.json`` names them under ``skipped``.

    Args:
        source: folder of the release; the case folders may be at any depth (``HGG``, ``LGG``).
        out_dir: new or empty folder outside ``source``.
        modality: ``"flair"``, ``"t1"``, ``"t1ce"`` or ``"t2"``; several, separated by commas, become the channels in
            this order; ``"all"`` is ``"flair,t1,t1ce,t2"``.
        split: fractions of the patients for training, validation and test: positive, with sum 1.
        seed: seed of the split, integer >= 0.

    Returns:
        Path to ``dataset.json``.

    Raises:
        DataError: no cases, broken links, cases without the modality (all are named), a case found twice, image and
            segmentation of different geometry, label values that BraTS does not have, or fewer than three patients.
        ValueError: unknown modality, or ``split`` or ``seed`` out of range.
        FileExistsError: ``out_dir`` is a file or holds something else than this import.
    """
    source, out_dir = Path(source), Path(out_dir)
    chosen = _modalities(modality)
    check_folders(source, out_dir)
    found = _find_cases(source)
    labelled = {name: files for name, files in found.items() if "seg" in files}
    if not labelled:
        raise DataError(
            f"Expected segmentations such as BraTS2021_00000_seg.nii.gz, found none below {source}. "
            "Give the folder of the training release."
        )
    for one in chosen:
        lacking = sorted(name for name, files in labelled.items() if one not in files)
        if lacking:
            raise DataError(
                f"Expected a {one} image for each of the {len(labelled)} cases below {source}, found none for "
                f"{len(lacking)}: {', '.join(lacking)}. "
                "Add the files, or choose another modality."
            )
    cases = []
    for name, files in labelled.items():
        cases.append(Case(name, brats_patient(name), (*(files[one] for one in chosen), files["seg"])))
    taken = ", ".join(chosen)
    description = f"BraTS, {taken}; label 1 = whole tumour (every label of the release above 0)"
    names = chosen if len(chosen) > 1 else ()
    recipe = Recipe("BraTS", description, "tumour", taken, _write_case, channels=names)
    homes = split_by_patient({case.name: case.patient for case in cases}, split, seed)
    return write_dataset(cases, source, out_dir, recipe, homes, skipped=sorted(set(found) - set(labelled)))


def _modalities(wanted: str) -> tuple[str, ...]:
    """Modalities in the order wanted."""
    if wanted == "all":
        return BRATS_MODALITIES
    chosen = tuple(part.strip() for part in wanted.split(","))
    if not set(chosen) <= set(BRATS_MODALITIES) or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"Expected modality {', '.join(BRATS_MODALITIES)}, found {wanted!r}. Choose one of them, several with "
            "commas, each once, or all."
        )
    return chosen


def brats_patient(case: str) -> str:
    """Patient of a case: its name without the number of the scan, where the release has one.

    Example:
        >>> [brats_patient(case) for case in ("BraTS-GLI-00005-001", "Brats18_TCIA01_131_1", "BraTS2021_00002")]
        ['BraTS-GLI-00005', 'Brats18_TCIA01_131', 'BraTS2021_00002']
    """
    match = _WITH_SCAN.fullmatch(case)
    return (match["patient"] or match["patient_new"]) if match else case


def _find_cases(source: Path) -> dict[str, dict[str, Path]]:
    """Files of every case below ``source``: ``{case: {modality or "seg": path}}``."""
    places: dict[str, list[Path]] = defaultdict(list)
    cases: dict[str, dict[str, Path]] = defaultdict(dict)
    found = [(path, match) for path in files_below(source) if (match := _FILE.fullmatch(path.name))]
    stop_at_broken_links([path for path, _ in found], source)
    for path, match in found:
        kind = _NEW_NAMES.get(match["kind"].lower(), match["kind"].lower())
        places[f"{match['case']} {kind}"].append(path)
        cases[match["case"]][kind] = path
    one_place_each(places)
    if not cases:
        raise DataError(
            "Expected files of BraTS such as BraTS2021_00000/BraTS2021_00000_flair.nii.gz, "
            f"found none below {source}. Check the path."
        )
    return cases


def _write_case(case: Case, folder: Path) -> dict[str, Any]:
    """Link the image, write whole tumour against background, and return the item."""
    *images, segmentation = case.files
    mask, affine = _whole_tumour(images[0], segmentation)
    item: dict[str, Any] = {"image": f"{case.name}_image{suffix_of(images[0])}", "label": f"{case.name}_label.nii.gz"}
    if len(images) > 1:
        item["image"] = f"{case.name}_image.nii.gz"
        join_channels(images, folder / item["image"])
    else:
        link_or_copy(images[0], folder / item["image"])
    save_like(mask, affine, segmentation, folder / item["label"])
    return item | describe_mask(mask, affine)


def _whole_tumour(image: Path, segmentation: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Mask ``(X, Y, Z)`` uint8 and its affine, after a check against the image."""
    try:
        picture = nib.load(image)  # its header; the voxels are only linked
    except Exception as error:
        raise damaged(image, "its header is incomplete or corrupt") from error
    volume = read_mask(segmentation)
    labels, affine = volume[0].numpy().astype(np.int64), np.asarray(volume.affine)
    apart = np.abs(picture.affine - affine).max()
    if labels.shape != picture.shape or apart > 1e-2:
        raise DataError(
            f"Expected {segmentation} on the voxels of {image}, found the shapes {labels.shape} and {picture.shape}, "
            f"and affines that differ by up to {apart:.3g} mm. Copy the case again."
        )
    values = np.unique(labels)
    if not set(values.tolist()) <= {0, 1, 2, 3, 4}:
        raise DataError(f"Expected labels 0 to 4 in {segmentation}, found {values[:8].tolist()}. Copy the file again.")
    return (labels > 0).astype(np.uint8), affine
