"""Which classes each patch of an image shows: given by a CSV, or derived from a mask."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tqdm import tqdm

from camtools.data.case_names import case_name, output_file
from camtools.data.errors import DataError
from camtools.data.files import atomic_folder, atomic_path, check_free_folder
from camtools.data.geometry import volume_to_slices
from camtools.data.tag_csv import PATCH_COLUMNS, PatchRows
from camtools.patches import PatchGrid

__all__ = ["PatchTagger", "write_patch_crops", "write_patch_tags"]


class PatchTagger:
    """Multi-label tags of the patches of a volume's slices (OEEM, section 3.1).

    They are those of the CSV that the item names under ``patch_labels``, else they are derived from its mask: a class
    is present in a patch when it covers more than ``min_fraction`` of it. This is the one use of a mask.

    The CSV has the columns ``image,slice,x,y,classes`` and a row for each patch: the image as in ``dataset.json``, the
    number of the slice (0 for a 2D image), the first pixel of the patch along the two in-plane axes of the *prepared*
    slice (columns and rows of a PNG that is not resampled), and the classes it shows, numbers separated by spaces with
    0 for the background. ``camtools patches`` writes one to fill in.

    Args:
        prepare: dictionary transforms of a whole volume (keys ``image`` and, where there is one, ``label``).
        grid: the patches.
        min_fraction: 0..1, used only where tags are derived from a mask.
        num_classes: K, the background included.

    Raises:
        DataError: when called: an item with neither tags nor mask; tags that are not those of the grid's patches.
    """

    def __init__(
        self,
        prepare: Callable[[Any], Any],
        grid: PatchGrid,
        min_fraction: float = 0.05,
        num_classes: int = 2,
    ) -> None:
        self.prepare = prepare
        self.grid = grid
        self.min_fraction = min_fraction
        self.num_classes = num_classes

    def __call__(self, item: dict[str, Any]) -> torch.Tensor:
        """Tags of one volume: bool ``(Z, N, K)`` for N patches a slice, in the order of the grid."""
        if item.get("patch_labels"):
            image = self.prepare({"image": item["image"]})["image"]
            return self._given(item, image.shape[1:])
        if not item.get("label"):
            raise DataError(
                f"{item['image']} has neither patch tags nor a mask. Name a CSV with the columns "
                f"{','.join(PATCH_COLUMNS)} under 'patch_labels' in dataset.json; the command camtools patches writes "
                "one to fill in."
            )
        mask = self.prepare({"image": item["image"], "label": item["label"]})["label"].as_tensor()
        classes = (volume_to_slices(mask) > 0.5).long() if self.num_classes == 2 else volume_to_slices(mask).round()
        return self.grid.class_shares(classes, self.num_classes) > self.min_fraction

    def positions(self, shape: Sequence[int]) -> list[tuple[int, int, int]]:
        """Slice and first pixel ``(slice, x, y)`` of all patches of a prepared volume ``(X, Y, Z)``."""
        corners = self.grid.corners(shape[0], shape[1])
        return [(index, x, y) for index in range(shape[2]) for x, y in corners]

    def _given(self, item: dict[str, Any], shape: Sequence[int]) -> torch.Tensor:
        rows: PatchRows = {(index, x, y): classes for index, x, y, classes in item["patch_labels"]}
        expected = self.positions(shape)
        where = f"The patch tags of {item['image']}"
        wrong = sorted(set(rows) ^ set(expected))
        if wrong:
            verb = "have no row" if wrong[0] not in rows else "have a row too many"
            raise DataError(
                f"{where} {verb} for slice {wrong[0][0]}, x {wrong[0][1]}, y {wrong[0][2]}: expected one for each of "
                f"the {len(expected)} patches of side {self.grid.size} and stride {self.grid.stride} on "
                f"{shape[2]} slices of {shape[0]} x {shape[1]} pixels. Correct the CSV, or patch size and stride."
            )
        tags = torch.zeros(len(expected), self.num_classes, dtype=torch.bool)
        for row, position in enumerate(expected):
            for number in rows[position]:
                if not 0 <= number < self.num_classes:
                    raise DataError(f"{where} must name classes from 0 to {self.num_classes - 1}, found {number}.")
                tags[row, number] = True
        return tags.view(shape[2], -1, self.num_classes)


def write_patch_tags(items: Sequence[dict[str, Any]], tagger: PatchTagger, path: Path, derive: bool = False) -> int:
    """Write a CSV of all patches of a dataset, see :class:`PatchTagger`.

    Args:
        items: volume items.
        tagger: gives the patches.
        path: the CSV.
        derive: fill in the classes from the masks (a benchmark); else they are left empty, to be filled in.

    Returns:
        Number of patches.

    Raises:
        FileExistsError: there is such a file.
        DataError: two images of the same name, or a mask is needed and missing.
    """
    if path.exists():
        raise FileExistsError(
            f"Expected {path} to be a new file, found one. Tags are not overwritten: choose another name."
        )
    names = [Path(item["image"]).name for item in items]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"Expected images of different names, found several of the name {twice[0]}. Rename them.")
    rows = []
    for name, item in zip(names, tqdm(items, desc="patches", unit="image", disable=None), strict=True):
        positions = tagger.positions(tagger.prepare({"image": item["image"]})["image"].shape[1:])
        shown = tagger(item).flatten(0, 1) if derive else torch.zeros(len(positions), 0)
        for position, tags in zip(positions, shown, strict=True):
            rows.append((name, *position, " ".join(str(int(number)) for number in tags.nonzero())))
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle, lineterminator="\n").writerows([PATCH_COLUMNS, *rows])
    return len(rows)


def write_patch_crops(items: Sequence[dict[str, Any]], tagger: PatchTagger, folder: Path) -> None:
    """Write every patch as ``<case>_slice<k>_x<x>_y<y>.png``, columns along x, each slice scaled to [0, 255].

    A case with sub-folders in its name, such as ``p1/t2``, has its pictures in these sub-folders.

    Raises:
        FileExistsError: the folder is a file or holds something.
    """
    check_free_folder(folder)
    with atomic_folder(folder) as partial:
        for item in tqdm(items, desc="pictures", unit="image", disable=None):
            volume = tagger.prepare({"image": item["image"]})["image"].as_tensor()
            low, high = volume.amin(dim=(1, 2), keepdim=True), volume.amax(dim=(1, 2), keepdim=True)
            slices = volume_to_slices((volume - low) / (high - low).clamp_min(1e-8) * 255)
            for (index, x, y), patch in zip(
                tagger.positions(volume.shape[1:]), tagger.grid.extract(slices).flatten(0, 1), strict=True
            ):
                pixels = patch.movedim(0, -1).transpose(0, 1).round().to(torch.uint8).numpy()
                picture = Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])
                path = output_file(partial, case_name(item), f"_slice{index}_x{x}_y{y}.png")
                path.parent.mkdir(parents=True, exist_ok=True)
                picture.save(path)
