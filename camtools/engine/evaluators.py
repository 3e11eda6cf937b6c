"""Validation scores that choose the epoch of a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ignite.metrics import Accuracy
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from monai.handlers import MeanDice, from_engine
from monai.inferers import Inferer
from monai.transforms import AsDiscreted, Compose

from camtools.data.samples import VolumeSamples
from camtools.data.volume_dataset import VolumeDataset
from camtools.engine.loading import slice_loader
from camtools.transforms import LargestLogitd

__all__ = ["right_tags", "slice_evaluator", "volume_evaluator"]


def right_tags(logits: torch.Tensor, tags: torch.Tensor) -> torch.Tensor:
    """Which samples of a batch have all their tags predicted correctly, bool ``(B,)``.

    Args:
        logits: ``(B, K)``.
        tags: class numbers ``(B,)``, predicted by the largest logit; or 0 and 1, ``(B, K)``, each predicted by the
            sign of its logit.

    Example:
        >>> right_tags(torch.tensor([[0.0, 1.0], [2.0, 1.0]]), torch.tensor([1, 1])).tolist()
        [True, False]
        >>> right_tags(torch.tensor([[3.0], [-1.0]]), torch.tensor([[1.0], [1.0]])).tolist()
        [True, False]
    """
    if tags.ndim == 1:
        return logits.argmax(dim=1) == tags
    return ((logits > 0) == (tags > 0.5)).all(dim=1)


def _right(output: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    right = right_tags(output["pred"], output["label"]).long()
    return right, torch.ones_like(right)


def slice_evaluator(
    network: torch.nn.Module,
    device: torch.device | str,
    dataset: VolumeSamples,
    batch_size: int = 32,
    inferer: Inferer | None = None,
    val_handlers: Sequence[Any] = (),
) -> SupervisedEvaluator | None:
    """Accuracy of a classifier: the share of slices or patches with all tags correct (``right_tags``).

    Args:
        network: classifier ``(B, C, H, W) -> (B, K)``.
        device: where it runs.
        dataset: validation samples with ``image`` and ``label``.
        batch_size: samples per forward pass.
        inferer: how the network is run; None calls it directly.
        val_handlers: additional ignite handlers.

    Returns:
        MONAI's evaluator with the key metric ``accuracy``, or None without validation items.
    """
    if not dataset.data:
        return None
    return SupervisedEvaluator(
        device=device,
        val_data_loader=slice_loader(dataset, batch_size, shuffle=False),
        network=network,
        inferer=inferer,
        decollate=False,
        key_val_metric={"accuracy": Accuracy(output_transform=_right)},
        val_handlers=list(val_handlers),
    )


def volume_evaluator(
    network: torch.nn.Module,
    device: torch.device | str,
    dataset: VolumeDataset,
    inferer: Inferer,
    val_handlers: Sequence[Any] = (),
) -> SupervisedEvaluator | None:
    """3D Dice of a segmenter over whole volumes.

    Args:
        network: 2D segmenter ``(B, C, H, W) -> (B, K, H, W)``.
        device: where it runs.
        dataset: prepared volumes ``image`` with masks ``label``. The object is where ``label`` is
            above 0.5.
        inferer: how the network is run over a volume, such as ``monai.inferers.SliceInferer``.
        val_handlers: additional ignite handlers.

    Returns:
        MONAI's evaluator with the key metric ``dice``, or None without validation items or if one has no mask.
    """
    if not dataset.data or not all(item.get("label") for item in dataset.data):
        return None
    discrete = [LargestLogitd("pred"), AsDiscreted("label", threshold=0.5)]
    return SupervisedEvaluator(
        device=device,
        val_data_loader=DataLoader(dataset, batch_size=1),
        network=network,
        inferer=inferer,
        postprocessing=Compose(discrete),
        key_val_metric={"dice": MeanDice(output_transform=from_engine(["pred", "label"]))},
        val_handlers=list(val_handlers),
    )
