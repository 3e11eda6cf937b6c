"""Volumes one by one through a chain of transforms, with the results written on the voxels of the input."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from monai.transforms import InvertibleTransform
from tqdm import tqdm

from camtools.data.case_names import case_name, output_file, same_place
from camtools.data.errors import DataError, reason
from camtools.data.files import file_hash, input_hash_of, save_like
from camtools.data.folders import check_file
from camtools.data.geometry import SliceAxis
from camtools.data.storage import StorageError
from camtools.engine.manifest import digest
from camtools.engine.ranks import Ranks
from camtools.networks.weights import load_weights
from camtools.transforms.finish import invert_prepared

__all__ = ["VolumePipeline", "VolumesFailedError"]

logger = logging.getLogger("camtools")

Transform = Callable[[Any], Any]


class VolumesFailedError(RuntimeError):
    """Some volumes could not be processed; the others were."""

    def __init__(self, name: str, failed: Sequence[tuple[str, str]], total: int) -> None:
        lines = "\n".join(f"  {image}: {reason}" for image, reason in failed)
        super().__init__(
            f"{name}: {len(failed)} of {total} volumes failed, the other {total - len(failed)} are done:\n{lines}"
        )
        self.failed = list(failed)


class VolumePipeline:
    """Prepare every volume, run it through ``steps``, and write what they produce on the voxels of its file.

    The pipeline inverts ``prepare`` for every output, so ``steps`` work on prepared volumes only. One volume is in
    memory at a time. A volume whose outputs exist and were made from the same input file and tags is skipped, so a
    killed run continues where it stopped. A volume that fails does not stop the others: all failures are reported at
    the end. With several processes each takes its share of the volumes, and all of them report the failures of all.

    Args:
        name: shown beside the progress bar and in errors.
        data: volume items.
        steps: transforms of the prepared volume, applied in order.
        outputs: key of a ``(1, X, Y, Z)`` result -> suffix of its file, such as ``{"pred": ".nii.gz"}``.
        folder: folder of the files ``<case><suffix>``.
        dtype: type of the voxels written, such as ``"uint8"`` for masks; one for all outputs, or one for each key.
        weights: pairs of a network and the file its weights are loaded from before the first volume.
        slice_axis: decision for the dataset (:func:`camtools.data.dataset_slice_axis`). It is given to ``prepare`` with
            each item, where :class:`camtools.transforms.SliceAxisLastd` prefers it to its own setting.
        prepare: transform that loads and prepares a volume (:class:`camtools.transforms.PrepareVolumed`). None leaves
            that, and the way back to the voxels of the file, to ``steps``.
        finish: transform of the outputs on the voxels of the file, such as a threshold.
    """

    def __init__(
        self,
        name: str,
        data: Sequence[dict[str, Any]],
        steps: Sequence[Transform],
        outputs: Mapping[str, str],
        folder: str | Path,
        dtype: str | Mapping[str, str] = "float32",
        weights: Sequence[tuple[torch.nn.Module, str | Path]] = (),
        slice_axis: SliceAxis = None,
        prepare: Transform | None = None,
        finish: Transform | None = None,
    ) -> None:
        self.name = name
        self.data = list(data)
        self.prepare = prepare
        self.steps = steps
        self.outputs = dict(outputs)
        self.folder = Path(folder)
        self.dtypes = {key: np.dtype(dtype if isinstance(dtype, str) else dtype[key]) for key in outputs}
        self.weights = list(weights)
        self.finish = finish
        self.given = {} if slice_axis is None else {"slice_axis": slice_axis}

    def run(self) -> None:
        """Process all volumes.

        Raises:
            DataError: two outputs would be one file, or an output would overwrite an input.
            VolumesFailedError: one or more volumes failed.
            StorageError: the disk is full or the like; the other volumes are not tried.
            FileNotFoundError: a file of weights is missing.
        """
        self._check_outputs()
        load_weights(self.name, self.weights)
        for network, _ in self.weights:
            network.eval()
        ranks, rank = Ranks(), idist.get_rank()
        failed: list[tuple[str, str]] = []
        stopped: StorageError | None = None
        share = self.data[rank :: idist.get_world_size()]
        for item in tqdm(share, desc=self.name, unit="volume", disable=None if rank == 0 else True):
            try:
                self._process(item)
            except StorageError as error:
                failed.append((str(item["image"]), reason(error)))
                if error.for_all_files:
                    stopped = error
                    break
            except Exception as error:
                logger.exception("%s: %s failed", self.name, item["image"], exc_info=logger.isEnabledFor(logging.DEBUG))
                failed.append((str(item["image"]), reason(error)))
        for first in filter(None, ranks.gather(stopped)):
            raise first
        failed = list(chain.from_iterable(ranks.gather(failed)))
        if failed:
            raise VolumesFailedError(self.name, failed, len(self.data))

    def output_path(self, item: dict[str, Any], key: str) -> Path:
        """File of one output of one volume, below ``folder`` whatever its case is called.

        Raises:
            DataError: the name of the case is none, see ``camtools.data.case_names.output_file``.
        """
        return output_file(self.folder, case_name(item), self.outputs[key])

    def _check_outputs(self) -> None:
        """Every output has a file of its own, which is none of the inputs and no folder of another output."""
        inputs = {os.path.realpath(item[key]) for item in self.data for key in ("image", "label") if item.get(key)}
        owners: dict[str, str] = {}
        for item in self.data:
            for key in self.outputs:
                path, image = self.output_path(item, key), str(item["image"])
                if os.path.realpath(path) in inputs:
                    raise DataError(
                        f"{self.name}: expected to write {key} of {image} to a new file, found that {path} is an input "
                        "file, which would be overwritten. Choose an output_dir outside the folder of the data."
                    )
                other = owners.setdefault(same_place(str(path)), image)
                if other != image:
                    raise DataError(
                        f"{self.name}: expected a file for each output, found {path} for {other} and {image}. Give "
                        "one of them another 'case', or another file name."
                    )
        self._check_folders(owners)

    def _check_folders(self, owners: Mapping[str, str]) -> None:
        for place, image in owners.items():
            inner = next((str(folder) for folder in Path(place).parents if str(folder) in owners), None)
            if inner is not None:
                raise DataError(
                    f"{self.name}: expected a file for each output, found that of {owners[inner]} where the folder of "
                    f"{image} has to be ({inner}). Rename one of them."
                )

    def _process(self, item: dict[str, Any]) -> None:
        for key in ("image", "label"):
            if item.get(key):
                check_file(item[key])
        input_hash = _input_hash(item)
        if all(input_hash_of(self.output_path(item, key)) == input_hash for key in self.outputs):
            return
        data: Any = self.given | item
        if self.prepare is not None:
            data = self.prepare(data)
        for step in self.steps:
            data = step(data)
        self._write(item, self.to_file_voxels(data), input_hash)

    def to_file_voxels(self, data: Any) -> Any:
        """Outputs brought back to the voxels of the file, then finished."""
        if isinstance(self.prepare, InvertibleTransform):
            data = invert_prepared(list(self.outputs), self.prepare)(data)
        return data if self.finish is None else self.finish(data)

    def _write(self, item: dict[str, Any], data: Any, input_hash: str) -> None:
        for key in self.outputs:
            volume = data[key]
            if volume.applied_operations:
                raise RuntimeError(
                    f"{self.name}: expected {key} on the voxels of its file, found it still turned or resampled. Give "
                    "the transforms that did it as 'prepare', or end 'steps' with Invertd."
                )
            values = volume.as_tensor()[0].cpu().numpy()
            if self.dtypes[key].kind in "iu":
                values = values.round()
            path = self.output_path(item, key)
            save_like(values.astype(self.dtypes[key]), np.asarray(volume.affine), item["image"], path, input_hash)


def _input_hash(item: dict[str, Any]) -> str:
    """Hash of what the steps are given: the content of the volume's files and, where there are any, its tags."""
    given: dict[str, Any] = {key: file_hash(item[key]) for key in ("image", "label") if item.get(key)}
    for key in ("slice_labels", "patch_tags"):
        if (tags := item.get(key)) is not None:
            given[key] = torch.as_tensor(tags).tolist()
    return digest(given)[:32] if len(given) > 1 else str(given["image"])[:32]
