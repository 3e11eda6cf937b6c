"""First step of a run: read every volume once, before any long computation."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from monai.data import MetaTensor
from tqdm import tqdm

from camtools.data.case_names import case_clashes
from camtools.data.channels import check_channels
from camtools.data.errors import DataError
from camtools.data.file_kinds import is_photograph
from camtools.data.files import write_json
from camtools.data.geometry import slice_axis_of, voxel_spacing
from camtools.data.patch_tags import PatchTagger
from camtools.data.slicing import plane_of
from camtools.data.splits import Splits, splits_of
from camtools.data.volumes import check_same_geometry, read_mask, read_volume
from camtools.engine.ranks import on_first_rank

__all__ = ["DatasetCheck"]

logger = logging.getLogger("camtools")


class DatasetCheck:
    """Read every volume, mask and tag of a dataset and write what was found to ``dataset_check.json``.

    For each volume, the file holds the decision for the slices of the dataset (``slicing``), the array axis of the
    slices in the file (``slice_axis``), and their anatomical ``plane``.

    Args:
        splits: the volumes, as :class:`camtools.data.Splits` or as volume items by name of the split. Training items
            need slice tags, given or derived from a mask.
        output_dir: folder of the run.
        patch_tagger: for methods that learn from patches. Training items then need patch tags.
        workers: number of reading threads.
        channels: number of image channels that the networks expect; None accepts any number.
    """

    def __init__(
        self,
        splits: Splits | Mapping[str, Sequence[dict[str, Any]]],
        output_dir: str | Path,
        patch_tagger: PatchTagger | None = None,
        workers: int = 4,
        channels: int | None = None,
    ) -> None:
        self.splits = splits if isinstance(splits, Splits) else splits_of(splits)
        self.output_dir = Path(output_dir)
        self.patch_tagger = patch_tagger
        self.workers = workers
        self.channels = channels

    @on_first_rank
    def run(self) -> None:
        """Check all volumes, then report all problems in one error.

        Raises:
            DataError: some files are unusable (the message names all of them), the training split is empty, or all its
                tags are of one class.
        """
        work = [(split, item) for split, items in self.splits.by_name.items() for item in items]
        logger.debug("check: slices are stacked as %s", self.splits.slice_axis)  # decide before the threads start
        with ThreadPoolExecutor(self.workers) as pool:
            found = list(tqdm(pool.map(self._check, work), total=len(work), desc="check", unit="volume", disable=None))
        problems = [problem for _, problem in found if problem]
        problems += case_clashes(item for _, item in work)
        if problems:
            listed = "\n".join(f"  {problem}" for problem in problems)
            raise DataError(f"{len(problems)} of {len(work)} volumes cannot be used:\n{listed}")
        rows = [row for row, _ in found if row]
        _warn_of_copies(rows)
        self._check_both_classes([row for row in rows if row["split"] == "training"])
        path = self.output_dir / "dataset_check.json"
        _compare_decisions(path, rows)
        write_json(rows, path)

    def _check_both_classes(self, training: Sequence[dict[str, Any]]) -> None:
        units = "slices" if self.patch_tagger is None else "patches"
        total = sum(row[units] for row in training)
        positive = sum(row[f"positive_{units}"] for row in training)
        found = None
        if total == 0:
            found = f"no {units}"
        elif positive in (0, total):
            found = f"only {'positive' if positive else 'negative'} {units}"
        if found is not None:
            raise DataError(
                f"Expected training {units} with and without the object, found {found} in {len(training)} volumes. "
                f"Add volumes or correct the tags of the {units}."
            )
        logger.info(
            "check: %d training volumes, %d of %d %s positive; %d validation, %d test",
            *(len(training), positive, total, units, len(self.splits.validation), len(self.splits.test)),
        )

    def _check(self, work: tuple[str, dict[str, Any]]) -> tuple[dict[str, Any] | None, str | None]:
        split, item = work
        try:
            return self._describe(split, item), None
        except DataError as error:
            return None, str(error)

    def _describe(self, split: str, item: dict[str, Any]) -> dict[str, Any]:
        image = read_volume(item["image"])
        check_channels(item["image"], image, self.channels)
        row = {"split": split, "case": item["case"], "image": item["image"], "shape": list(image.shape[1:])}
        row["channels"] = int(image.shape[0])
        row["voxels"] = hashlib.sha256(image.as_tensor().numpy().tobytes()).hexdigest()[:32]
        row["spacing"] = voxel_spacing(image.affine).round(4).tolist()
        slicing = self.splits.slice_axis
        if not is_photograph(item["image"]):
            row |= {"slicing": slicing, "slice_axis": slice_axis_of(image, slicing)}
            row["plane"] = plane_of(image.affine, tuple(image.shape[1:]), slicing)
        if item.get("label"):
            row["label"] = item["label"]
        row |= self._tags(split, item, image)
        return row

    def _tags(self, split: str, item: dict[str, Any], image: MetaTensor) -> dict[str, Any]:
        row: dict[str, Any] = {}
        masked = bool(item.get("label"))
        if split == "training" or item.get("slice_labels") or masked:
            tags = self.splits.tags(item, image)
            row |= {"slices": len(tags), "positive_slices": sum(tags)}
        if masked and item.get("slice_labels"):  # the mask gives no tags, but scores need it
            check_same_geometry(image, read_mask(item["label"]), item["image"], item["label"])
        if self.patch_tagger is not None and (split == "training" or item.get("patch_labels") or masked):
            patches = self.splits.patch_tags(item, self.patch_tagger).flatten(0, 1)
            row |= {"patches": len(patches), "positive_patches": int(patches[:, 1:].any(dim=1).sum())}
        return row


def _warn_of_copies(rows: Sequence[dict[str, Any]]) -> None:
    """Warn of volumes with the same voxels under different names. A copy of a training volume cannot test a method."""
    first: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        other = first.setdefault((row["voxels"], str(row["shape"])), row)
        if other is not row:
            logger.warning(
                "check: %s (%s) holds the same voxels as %s (%s). If it is a copy, keep only one of them, and keep "
                "every patient in one split.",
                row["image"],
                row["split"],
                other["image"],
                other["split"],
            )


def _compare_decisions(path: Path, rows: list[dict[str, Any]]) -> None:
    """Warn when added or removed volumes, or a new setting, changed the slice axis of other volumes."""
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
        before = {row["case"]: row["slice_axis"] for row in earlier if "slice_axis" in row}
    except (OSError, ValueError, TypeError, KeyError):  # absent, or damaged and about to be overwritten
        return
    turned = [row["case"] for row in rows if row.get("slice_axis") != before.get(row["case"], row.get("slice_axis"))]
    if turned:
        logger.warning(
            "check: the slice axis of %d volumes (the first is %s) differs from the earlier run in %s, because the "
            "volumes or the setting slice_axis changed. Their results are computed again.",
            len(turned),
            turned[0],
            path.parent,
        )
