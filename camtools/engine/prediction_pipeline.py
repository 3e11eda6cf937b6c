"""3D segmentation of volumes with a trained network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.inferers import Inferer
from monai.transforms import InvertibleTransform

from camtools.data.case_names import case_name
from camtools.data.geometry import SliceAxis
from camtools.engine.pipelines import VolumePipeline
from camtools.transforms import FinishPredictiond, PredictVolumed

__all__ = ["PredictionPipeline"]


class PredictionPipeline(VolumePipeline):
    """Segment every volume and write its mask ``<case>.nii.gz``, uint8, on the voxels of its file.

    Args:
        data: volume items; only their image and case are used.
        prepare: as for :class:`VolumePipeline`.
        network: 2D network ``(B, C, H, W) -> (B, K, H, W)``.
        inferer: how the network is run over a volume, for example ``monai.inferers.SliceInferer``.
        device: where the network runs.
        weights: file of its trained weights.
        folder: folder of the masks.
        amp: mixed precision, see :func:`camtools.precision.mixed_precision`.
        channels_last: memory format of the weights, see :func:`camtools.networks.place_network`.
        postprocessing: from the logits of a prepared volume to its mask;
            None: :class:`camtools.transforms.FinishPredictiond`.
        slice_axis: as for :class:`VolumePipeline`.
    """

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        prepare: InvertibleTransform,
        network: torch.nn.Module,
        inferer: Inferer,
        device: torch.device | str,
        weights: str | Path,
        folder: str | Path,
        amp: bool = False,
        channels_last: bool | None = None,
        postprocessing: Callable[[Any], Any] | None = None,
        slice_axis: SliceAxis = None,
    ) -> None:
        super().__init__(
            name="predict",
            data=[{"image": item["image"], "case": case_name(item)} for item in data],
            prepare=prepare,
            steps=[PredictVolumed(network, inferer, device, amp=amp, channels_last=channels_last)],
            outputs={"pred": ".nii.gz"},
            folder=folder,
            dtype="uint8",
            weights=[(network, weights)],
            slice_axis=slice_axis,
        )
        self.postprocessing = postprocessing or FinishPredictiond(prepare)

    def to_file_voxels(self, data: Any) -> Any:
        """The mask on the voxels of the file."""
        return self.postprocessing(data)
