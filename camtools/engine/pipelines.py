"""Process volumes one by one with a chain of transforms, and write the results on the voxels of the input."""

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
    """Some volumes could not be processed. All other volumes are done."""

    def __init__(self, name: str, failed: Sequence[tuple[str, str]], total: int) -> None:
        lines = "\n".join(f"  {image}: {reason}" for image, reason in failed)
        super().__init__(
            f"{name}: {len(failed)} of {total} volumes failed, the other {total - len(failed)} are done:\n{lines}"
        )
        self.failed = list(failed)


class VolumePipeline:
    """Prepare every volume, apply ``steps``, and write the outputs on the voxels of its file.

    The pipeline inverts ``prepare`` for every output, so ``steps`` only see prepared volumes. One volume is in memory
    at a time. A volume is skipped if its outputs exist and were made from the same input file and tags, so a killed
    run continues where it stopped. If one volume fails, the pipeline continues with the next one, and reports all
    failures at the end. Several processes share the volumes, and each process reports the failures of all.

    Args:
        name: shown in the progress bar and in errors.
        data: volume items.
        steps: transforms of the prepared volume, applied in order.
        outputs: key of a ``(1, X, Y, Z)`` result -> suffix of its file, such as ``{"pred": ".nii.gz"}``.
        folder: folder of the files ``<case><suffix>``.
        dtype: type of the written voxels, such as ``"uint8"`` for masks; one for all outputs, or one per key.
        weights: pairs of a network and its file of weights, loaded before the first volume.
        slice_axis: decision for the dataset (:func:`camtools.data.dataset_slice_axis`). It is added to each item
            before ``prepare``, where :class:`camtools.transforms.SliceAxisLastd` prefers it to its own setting.
        prepare: transform that loads and prepares a volume (:class:`camtools.transforms.PrepareVolumed`). With None,
            ``steps`` load the volume and return to the voxels of the file.
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
            DataError: two outputs have the same file, or an output would overwrite an input.
            VolumesFailedError: one or more volumes failed.
            StorageError: no file can be written, for example because the disk is full. The run stops at once.
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
        """File of one output of one volume. It is always below ``folder``.

        Raises:
            DataError: the name of the case is not valid, see ``camtools.data.case_names.output_file``.
        """
        return output_file(self.folder, case_name(item), self.outputs[key])

    def input_hash(self, item: dict[str, Any]) -> str:
        """Hash of everything that the outputs of a volume depend on: the content of its files, and its tags if any."""
        given: dict[str, Any] = {key: file_hash(item[key]) for key in ("image", "label") if item.get(key)}
        for key in ("slice_labels", "patch_tags"):
            if (tags := item.get(key)) is not None:
                given[key] = torch.as_tensor(tags).tolist()
        return digest(given)[:32] if len(given) > 1 else str(given["image"])[:32]

    def _check_outputs(self) -> None:
        """Check that every output has its own file, which is not an input and not the folder of another output."""
        inputs = {os.path.realpath(item[key]) for item in self.data for key in ("image", "label") if item.get(key)}
        owners: dict[str, str] = {}
        for item in self.data:
            for key in self.outputs:
                path, image = self.output_path(item, key), str(item["image"])
                if os.path.realpath(path) in inputs:
                    raise DataError(
                        f"{self.name}: expected to write {key} of {image} to a new file, found that {path} is an input "
                        "file, which would be overwritten. Choose an output_dir outside the data folder."
                    )
                other = owners.setdefault(same_place(str(path)), image)
                if other != image:
                    raise DataError(
                        f"{self.name}: expected one file per output, found {path} for {other} and {image}. Give one of "
                        "them another 'case' or another file name."
                    )
        self._check_folders(owners)

    def _check_folders(self, owners: Mapping[str, str]) -> None:
        for place, image in owners.items():
            inner = next((str(folder) for folder in Path(place).parents if str(folder) in owners), None)
            if inner is not None:
                raise DataError(
                    f"{self.name}: expected one file per output, found that {inner} would be the file of "
                    f"{owners[inner]} and the folder of {image}. Rename one of them."
                )

    def _process(self, item: dict[str, Any]) -> None:
        for key in ("image", "label"):
            if item.get(key):
                check_file(item[key])
        input_hash = self.input_hash(item)
        if all(input_hash_of(self.output_path(item, key)) == input_hash for key in self.outputs):
            return
        data: Any = self.given | item
        if self.prepare is not None:
            data = self.prepare(data)
        for step in self.steps:
            data = step(data)
        self._write(item, self.to_file_voxels(data), input_hash)

    def to_file_voxels(self, data: Any) -> Any:
        """Resample the outputs to the voxels of the file, then apply ``finish``."""
        if isinstance(self.prepare, InvertibleTransform):
            data = invert_prepared(list(self.outputs), self.prepare)(data)
        return data if self.finish is None else self.finish(data)

    def _write(self, item: dict[str, Any], data: Any, input_hash: str) -> None:
        for key in self.outputs:
            volume = data[key]
            if volume.applied_operations:
                raise RuntimeError(
                    f"{self.name}: expected {key} on the voxels of its file, found it still turned or resampled. Give "
                    "these transforms as 'prepare', or end 'steps' with Invertd."
                )
            values = volume.as_tensor()[0].cpu().numpy()
            if self.dtypes[key].kind in "iu":
                values = values.round()
            path = self.output_path(item, key)
            save_like(values.astype(self.dtypes[key]), np.asarray(volume.affine), item["image"], path, input_hash)
