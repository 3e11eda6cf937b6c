"""Labels for the next round of a self-training, from the probabilities of a segmenter and from slice tags."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import Transform

from camtools.transforms.maps import like_volume

__all__ = ["SharesToLabelsd", "TagGatedSharesd"]

Data = Mapping[Hashable, Any]

IGNORED = 255


class TagGatedSharesd(Transform):
    """Probability of the object in every pixel, corrected by the slice tags.

    - Slices tagged 0 are empty: the probability is 0.
    - Slices tagged 1 in which no pixel exceeds one half keep their previous label. Its ignored pixels (255) get the
      probability one half.

    Args:
        previous_key: previous label ``(1, X, Y, Z)``, 0..1 or 255.
        pred_key: class probabilities ``(2, X, Y, Z)``, background first, such as those of
            :class:`camtools.engine.MultiScaleInferer`.
        tags_key: slice tags, one per slice.
        output_key: key of the probability ``(1, X, Y, Z)``.

    Raises:
        ValueError: no class probabilities of two classes, or another number of tags than slices.
    """

    def __init__(
        self,
        previous_key: str = "mask",
        pred_key: str = "pred",
        tags_key: str = "slice_labels",
        output_key: str = "mask",
    ) -> None:
        self.previous_key = previous_key
        self.pred_key = pred_key
        self.tags_key = tags_key
        self.output_key = output_key

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Add the probability of one volume."""
        result = dict(data)
        volume = result[self.pred_key]
        shares = _foreground(volume.as_tensor())
        tags = torch.as_tensor(result[self.tags_key], device=shares.device)
        if len(tags) != shares.shape[-1]:
            raise ValueError(
                f"Expected one tag for each of {shares.shape[-1]} slices, found {len(tags)}. Give the slice_axis of "
                "the splits to the transforms that prepare volumes."
            )
        previous = torch.as_tensor(result[self.previous_key]).as_subclass(torch.Tensor).to(shares)
        previous = torch.where(previous > 1, 0.5, previous)
        found = (shares > 0.5).flatten(0, 2).any(dim=0)
        shares = torch.where(found, shares, previous)
        result[self.output_key] = like_volume(torch.where(tags > 0, shares, 0.0), volume)
        return result


def _foreground(probabilities: torch.Tensor) -> torch.Tensor:
    """Channel of the object, ``(1, X, Y, Z)``."""
    sums = probabilities.sum(dim=0)
    if len(probabilities) != 2 or not torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        raise ValueError(
            "Expected probabilities (2, X, Y, Z) of background and object that sum to 1, found "
            f"{tuple(probabilities.shape)} with sums from {float(sums.min()):.3g} to {float(sums.max()):.3g}. Use "
            "camtools.engine.MultiScaleInferer as the inferer."
        )
    return probabilities[1:]


class SharesToLabelsd(Transform):
    """Labels 0 and 1, and 255 for uncertain pixels, from the probability of the object.

    A pixel is the object where its probability exceeds one half. With a band, pixels whose probability differs from one
    half by at most ``band`` become 255, which losses ignore.

    Args:
        band: 0 <= band < 0.5; None: no pixel is ignored.
        key: probability ``(1, X, Y, Z)``, replaced by uint8 labels.

    Raises:
        ValueError: a band outside its range.

    Example:
        >>> shares = MetaTensor(torch.tensor([0.2, 0.45, 0.9]).reshape(1, 3, 1, 1))
        >>> SharesToLabelsd(band=0.1)({"mask": shares})["mask"].flatten().tolist()
        [0, 255, 1]
    """

    def __init__(self, band: float | None = None, key: str = "mask") -> None:
        if band is not None and not 0 <= band < 0.5:
            raise ValueError(f"Expected ignore_band from 0 to below 0.5, found {band}. Give null to ignore no pixel.")
        self.band = band
        self.key = key

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Replace the probability of one volume."""
        result = dict(data)
        volume: MetaTensor = result[self.key]
        shares = volume.as_tensor()
        labels = (shares > 0.5).to(torch.uint8)
        if self.band is not None:
            labels[(shares - 0.5).abs() <= self.band] = IGNORED
        result[self.key] = like_volume(labels, volume)
        return result
