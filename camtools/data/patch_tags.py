"""Patch tags: the classes in each patch of an image, read from a CSV or derived from a mask."""

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

    The tags come from the CSV that the item names under ``patch_labels``. Without a CSV, they are derived from its
    mask: a class is present in a patch if it covers more than ``min_fraction`` of it. The mask is not used for anything
    else.

    The CSV has the columns ``image,slice,x,y,classes`` and one row per patch:

    - ``image``: the image as in ``dataset.json``;
    - ``slice``: number of the slice, 0 for a 2D image;
    - ``x,y``: first pixel of the patch along the two in-plane axes of the *prepared* slice (column and row of a PNG
      that is not resampled);
    - ``classes``: numbers of the classes in the patch, separated by spaces, 0 for the background.

    ``camtools patches`` writes such a CSV to fill in.

    Args:
        prepare: dictionary transforms of a whole volume (keys ``image`` and, if present, ``label``).
        grid: the patches.
        min_fraction: 0..1, used only if the tags are derived from a mask.
        num_classes: K, including the background.

    Raises:
        DataError: on a call, if the item has neither tags nor a mask, or if its tags do not match the grid.
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
        """Tags of one volume: bool ``(Z, N, K)`` for N patches per slice, in the order of the grid."""
        if item.get("patch_labels"):
            image = self.prepare({"image": item["image"]})["image"]
            return self._given(item, image.shape[1:])
        if not item.get("label"):
            raise DataError(
                f"Expected patch tags or a mask, found neither for {item['image']}. Give a CSV with the columns "
                f"{','.join(PATCH_COLUMNS)} as 'patch_labels' in dataset.json. The command camtools patches writes one "
                "to fill in."
            )
        mask = self.prepare({"image": item["image"], "label": item["label"]})["label"].as_tensor()
        classes = (volume_to_slices(mask) > 0.5).long() if self.num_classes == 2 else volume_to_slices(mask).round()
        return self.grid.class_shares(classes, self.num_classes) > self.min_fraction

    def positions(self, shape: Sequence[int]) -> list[tuple[int, int, int]]:
        """Slice and first pixel ``(slice, x, y)`` of all patches of a prepared volume ``(X, Y, Z)``."""
        corners = self.grid.corners(shape[0], shape[1])
        positions: list[tuple[int, int, int]] = []
        for index in range(shape[2]):
            positions += [(index, x, y) for x, y in corners]
        return positions

    def _given(self, item: dict[str, Any], shape: Sequence[int]) -> torch.Tensor:
        rows: PatchRows = {(index, x, y): classes for index, x, y, classes in item["patch_labels"]}
        expected = self.positions(shape)
        where = f"patch tags of {item['image']}"
        wrong = sorted(set(rows) ^ set(expected))
        if wrong:
            found = "an extra row" if wrong[0] in rows else "no row"
            raise DataError(
                f"Expected one row for each of the {len(expected)} patches of side {self.grid.size} and stride "
                f"{self.grid.stride} on {shape[2]} slices of {shape[0]} x {shape[1]} pixels, found {found} for slice "
                f"{wrong[0][0]}, x {wrong[0][1]}, y {wrong[0][2]} in the {where}. Correct the CSV, or patch size and "
                "stride."
            )
        tags = torch.zeros(len(expected), self.num_classes, dtype=torch.bool)
        for row, position in enumerate(expected):
            for number in rows[position]:
                if not 0 <= number < self.num_classes:
                    raise DataError(
                        f"Expected classes from 0 to {self.num_classes - 1}, found {number} in the {where}. Correct "
                        "the CSV."
                    )
                tags[row, number] = True
        return tags.view(shape[2], -1, self.num_classes)


def write_patch_tags(items: Sequence[dict[str, Any]], tagger: PatchTagger, path: Path, derive: bool = False) -> int:
    """Write a CSV of all patches of a dataset, see :class:`PatchTagger`.

    Args:
        items: volume items.
        tagger: gives the patches.
        path: the CSV.
        derive: True fills in the classes from the masks (for benchmarks). False leaves them empty.

    Returns:
        Number of patches.

    Raises:
        FileExistsError: the file exists.
        DataError: two images have the same name, or a mask is needed and missing.
    """
    if path.exists():
        raise FileExistsError(
            f"Expected {path} to be a new file, found an existing one. Tags are not overwritten. Choose another name."
        )
    names = [Path(item["image"]).name for item in items]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"Expected images of different names, found several with the name {twice[0]}. Rename them.")
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

    If the name of a case has sub-folders, such as ``p1/t2``, its pictures go to these sub-folders.

    Raises:
        FileExistsError: the folder is a file or is not empty.
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
