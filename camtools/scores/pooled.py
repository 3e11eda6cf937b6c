"""Scores of a run from pixels and objects pooled over a split, as papers on glands report them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor
from tqdm import tqdm

from camtools.data.case_names import case_name, output_file
from camtools.data.errors import DataError
from camtools.data.geometry import SliceAxis, slice_axis_of
from camtools.data.volumes import read_mask, read_volume
from camtools.metrics import ObjectCounts, TwoClassCounts, connected_objects, object_counts, two_class_counts
from camtools.scores.masked import items_with_mask
from camtools.scores.tables import read_csv, write_csv

__all__ = ["POOLED_FILE", "POOLED_OUTPUTS", "PooledRow", "PooledScores", "read_pooled"]

POOLED_FILE = "pooled_metrics.csv"
POOLED_OUTPUTS = ("cam", "pseudo_mask", "prediction")

logger = logging.getLogger("camtools")


@dataclass(frozen=True)
class PooledRow:
    """One line of ``pooled_metrics.csv``: fractions of the pixels, or objects, of all images of a split.

    Attributes:
        split: name of the split, such as ``"test"``.
        output: ``"cam"``, ``"pseudo_mask"`` or ``"prediction"``.
        images: how many volumes or 2D images were pooled.
        miou: mean of the IoU of object and background.
        dice: mean of the Dice of object and background.
        f1: F1 (the Dice) of the object's pixels.
        precision: share of the predicted pixels that lie on the object.
        recall: share of the object's pixels that were predicted.
        object_dice: object-level Dice; None where the masks do not number the objects.
        object_f1: F1 of the detection of objects; None in the same case.
    """

    split: str
    output: str
    images: int
    miou: float
    dice: float
    f1: float
    precision: float
    recall: float
    object_dice: float | None = None
    object_f1: float | None = None


class PooledScores:
    """Score maps, pseudo-masks and predictions of a run on pooled pixels, and on single objects where masks have them.

    A voxel of an output or of a mask belongs to the object where its value exceeds 0.5. Masks number
    their objects when some mask of the split holds a value above 1 and not 0 and 255 alone; then the object scores are
    computed too, slice by slice in 2D, and the 8-connected components of an output are its objects.

    Args:
        splits: items by name of the split; items without a mask are skipped.
        prediction_dir: folder of the predictions, ``<case>.nii.gz``.
        output_dir: folder of ``pooled_metrics.csv``.
        pseudo_label_dir: folder of the other outputs; None scores the predictions alone.
        suffixes: ending of the file's name, after the case, of ``"cam"`` and ``"pseudo_mask"`` in ``pseudo_label_dir``;
            an output that is not named is not scored.
        slice_axis: as given to :class:`camtools.transforms.SliceAxisLastd`.

    Raises:
        ValueError: an unknown name of an output.
    """

    def __init__(
        self,
        splits: Mapping[str, Sequence[dict[str, Any]]],
        prediction_dir: str | Path,
        output_dir: str | Path,
        pseudo_label_dir: str | Path | None = None,
        suffixes: Mapping[str, str] | None = None,
        slice_axis: SliceAxis = None,
    ) -> None:
        suffixes = dict(suffixes or {})
        unknown = sorted(set(suffixes) - set(POOLED_OUTPUTS[:-1]))
        if unknown:
            raise ValueError(f"pooled: expected outputs of {', '.join(POOLED_OUTPUTS[:-1])}, found {unknown[0]!r}.")
        self.splits = {split: items_with_mask(items) for split, items in splits.items()}
        self.output_dir = Path(output_dir)
        self.slice_axis = slice_axis
        self.places = {} if pseudo_label_dir is None else {key: (pseudo_label_dir, suffixes[key]) for key in suffixes}
        self.places["prediction"] = (prediction_dir, ".nii.gz")

    def run(self) -> None:
        """Score everything and write ``pooled_metrics.csv``, a line per split and output.

        Raises:
            DataError: a file that is missing, cannot be read, or has another shape than its mask.
        """
        rows = []
        for split, items in self.splits.items():
            if items:
                rows += self._rows(split, items)
        write_csv(self.output_dir / POOLED_FILE, _HEADER, [astuple(row) for row in rows])
        for row in rows:
            logger.info("evaluate: %s %s pooled mIoU %.4f (%d images)", row.split, row.output, row.miou, row.images)

    def _rows(self, split: str, items: Sequence[dict[str, Any]]) -> list[PooledRow]:
        numbered = any(_is_numbered(read_mask(item["label"])) for item in items)
        outputs = [output for output in POOLED_OUTPUTS if output in self.places]
        pixels = dict.fromkeys(outputs, TwoClassCounts())
        objects = dict.fromkeys(outputs, ObjectCounts())
        for item in tqdm(items, desc=f"pooled {split}", unit="volume", disable=None):
            truth = read_mask(item["label"])
            axis = slice_axis_of(truth, self.slice_axis)
            numbers = _slices(truth, axis)
            for output in outputs:
                found = _slices(self._read(output, item, truth), axis) > 0.5
                pixels[output] += two_class_counts(found[:, None], numbers[:, None] > 0.5)
                if numbered:
                    objects[output] += object_counts(connected_objects(found), numbers.round().long())
        return [
            _row(split, output, len(items), pixels[output], objects[output] if numbered else None) for output in outputs
        ]

    def _read(self, output: str, item: dict[str, Any], truth: MetaTensor) -> MetaTensor:
        folder, suffix = self.places[output]
        path = output_file(folder, case_name(item), suffix)
        found = read_volume(path)
        if found.shape != truth.shape:
            raise DataError(
                f"Expected {path} on the voxels of {item['label']}, found the shapes {tuple(found.shape[1:])} and "
                f"{tuple(truth.shape[1:])}. Run the stage that writes it again."
            )
        return found


def read_pooled(path: Path) -> list[PooledRow]:
    """Read a ``pooled_metrics.csv`` that :class:`PooledScores` wrote.

    Raises:
        ValueError: other columns, or a line that cannot be read (the message names it).
    """
    return read_csv(path, _HEADER, _parse)


_HEADER = [field.name for field in fields(PooledRow)]


def _parse(line: list[str]) -> PooledRow:
    pixels = [float(value) for value in line[3:-2]]
    objects = [float(value) if value else None for value in line[-2:]]
    return PooledRow(line[0], line[1], int(line[2]), *pixels, *objects)


def _row(split: str, output: str, images: int, pixels: TwoClassCounts, objects: ObjectCounts | None) -> PooledRow:
    scores = (pixels.miou, pixels.dice, pixels.f1, pixels.precision, pixels.recall)
    return PooledRow(split, output, images, *scores, *((objects.dice, objects.f1) if objects else ()))


def _slices(volume: MetaTensor, axis: int) -> torch.Tensor:
    """Slices ``(B, H, W)`` of a volume."""
    return torch.as_tensor(volume.as_tensor()[0].movedim(axis, 0))


def _is_numbered(mask: torch.Tensor) -> bool:
    """Whether a mask numbers its objects, rather than marking them all with 1 or with 255."""
    values = set(mask.unique().tolist())
    return max(values) > 1 and not values <= {0, 255}
