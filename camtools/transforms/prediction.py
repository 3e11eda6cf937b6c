"""Logits of a prepared volume, and a gate that uses the classifier."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.transforms import Transform
from torch.nn import functional

from camtools.cams.targets import class_indices, confidences
from camtools.data.geometry import volume_to_slices
from camtools.networks import place_network
from camtools.networks.norms import fast_instance_norm
from camtools.networks.weights import load_weights
from camtools.precision import mixed_precision

__all__ = ["GateSlicesd", "PredictVolumed", "smallest_input"]

Data = Mapping[Hashable, Any]

DEFAULT_SMALLEST = 32


def smallest_input(network: torch.nn.Module) -> int:
    """Smallest height and width of a network's input: its attribute ``smallest``, or 32 without this attribute.

    32 pixels leave at least one pixel at the lowest level of a U-Net with four or five levels (``BasicUNet``).
    """
    return int(getattr(network, "smallest", DEFAULT_SMALLEST))


def _padded(volume: torch.Tensor, smallest: int) -> torch.Tensor:
    """Pad the slices to at least ``smallest`` pixels in height and width, by repeating their last pixels."""
    missing = [max(smallest - size, 0) for size in volume.shape[1:3]]
    if not any(missing):
        return volume
    return functional.pad(volume[None], (0, 0, 0, missing[1], 0, missing[0]), mode="replicate")[0]


class PredictVolumed(Transform):
    """Run a network over a volume through a MONAI inferer, without gradients.

    Slices that are too small for the network (``smallest_input``) are padded by repeating their last pixels. The logits
    are then cropped to the original size.

    Args:
        network: 2D network ``(B, C, H, W) -> (B, K, H, W)``, or another one that ``inferer`` can run.
        inferer: for example ``monai.inferers.SliceInferer``.
        device: the network is moved to it, and the logits stay on it.
        image_key: prepared volume ``(C, X, Y, Z)``.
        output_key: key of the logits ``(K, X, Y, Z)``.
        amp: mixed precision, see :func:`camtools.precision.mixed_precision`.
        channels_last: memory format of the weights, see :func:`camtools.networks.place_network`. Networks with instance
            normalisation run in channels-last format on a CPU unless this is False
            (``camtools.networks.norms.fast_instance_norm``); their weights are left in the given format.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        inferer: Inferer,
        device: str | torch.device = "cpu",
        image_key: str = "image",
        output_key: str = "pred",
        amp: bool = False,
        channels_last: bool | None = None,
    ) -> None:
        self.network = place_network(network, device, channels_last)
        self.inferer = inferer
        self.device = torch.device(device)
        self.image_key = image_key
        self.output_key = output_key
        self.amp = amp
        self.channels_last = channels_last

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Add the logits of one volume."""
        result = dict(data)
        volume = result[self.image_key]
        self.network.eval()
        with torch.no_grad(), mixed_precision(self.device, self.amp), self._norms():
            slices = _padded(volume.as_tensor(), smallest_input(self.network))
            logits = self.inferer(slices[None].to(self.device), self.network)[0].float()
            logits = logits[:, : volume.shape[1], : volume.shape[2]]
        result[self.output_key] = MetaTensor(logits, meta=volume.meta, applied_operations=volume.applied_operations)
        return result

    def _norms(self) -> AbstractContextManager[None]:
        if self.channels_last is False:
            return nullcontext()
        return fast_instance_norm(self.network)


class GateSlicesd(Transform):
    """Remove the object from slices that the classifier predicts as negative.

    A slice is positive if the probability of class ``target`` exceeds ``threshold``. The probability is the softmax, or
    the sigmoid for a classifier with one logit. In negative slices, the background logit is raised above
    all others, and the others are lowered below all. These slices are then empty for any threshold.

    Args:
        classifier: classifier ``(B, C, H, W) -> (B, K)``.
        weights: file of its trained weights, read before the first volume; None if it is already trained.
        target: class of the object.
        threshold: probability, 0..1.
        image_key: volume ``(C, X, Y, Z)``, prepared as for the training of the classifier.
        pred_key: logits ``(K, X, Y, Z)``, background first.
        batch_size: slices per forward pass.

    Raises:
        FileNotFoundError: ``weights`` does not exist.
    """

    def __init__(
        self,
        classifier: torch.nn.Module,
        weights: str | Path | None = None,
        target: int = 1,
        threshold: float = 0.5,
        image_key: str = "image",
        pred_key: str = "pred",
        batch_size: int = 16,
    ) -> None:
        self.classifier = classifier
        self.unread = [] if weights is None else [(classifier, weights)]
        self.target = target
        self.threshold = threshold
        self.image_key = image_key
        self.pred_key = pred_key
        self.batch_size = batch_size

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Gate the prediction of one volume."""
        result = dict(data)
        logits = result[self.pred_key].clone()
        negative = self._probability(result[self.image_key]) <= self.threshold
        lowest, highest = logits.as_tensor().aminmax()
        logits[0, ..., negative.to(logits.device)] = highest + 1
        logits[1:, ..., negative.to(logits.device)] = lowest - 1
        result[self.pred_key] = logits
        return result

    def _probability(self, volume: MetaTensor) -> torch.Tensor:
        load_weights("gate", self.unread)
        self.unread = []
        self.classifier.eval()
        device = next(self.classifier.parameters()).device
        padded = _padded(volume.as_tensor(), int(getattr(self.classifier, "smallest", 1)))
        batches = torch.split(volume_to_slices(padded), self.batch_size)
        with torch.no_grad():
            logits = torch.cat([self.classifier(batch.to(device).contiguous()) for batch in batches]).float()
        target = None if logits.shape[1] == 1 else self.target
        return confidences(logits, class_indices(logits, target))
