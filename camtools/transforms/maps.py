"""Compute the activation maps of volumes, normalise and fuse them, and derive pseudo-labels, slice by slice."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform

from camtools.data.geometry import slices_to_volume, volume_to_slices
from camtools.fusion import normalize_max
from camtools.geodesic import pseudo_label_seeds, spl_from_seeds
from camtools.precision import mixed_precision
from camtools.thresholds import Rule, map_threshold, per_pixel

__all__ = [
    "ActivationMapsd",
    "FuseMapsd",
    "MaskAsPseudoLabeld",
    "NormalizeMapsd",
    "SeedPseudoLabeld",
    "ThresholdMapsd",
]

Data = Mapping[Hashable, Any]
Maps = Callable[[torch.Tensor], torch.Tensor]


def per_slice(function: Maps, volume: MetaTensor) -> MetaTensor:
    """Apply a function of slice batches ``(Z, C, X, Y) -> (Z, K, X, Y)`` to a volume, and keep its geometry."""
    slices = volume_to_slices(volume.as_tensor())
    return like_volume(slices_to_volume(function(slices)), volume)


def like_volume(values: torch.Tensor, volume: MetaTensor) -> MetaTensor:
    """Volume with new values and the geometry of ``volume``."""
    return MetaTensor(values, meta=volume.meta, applied_operations=volume.applied_operations)


class ActivationMapsd(Transform):
    """Activation maps of every positive slice of a volume, computed in batches.

    Args:
        cam: CAM object, ``cam(images (B, C, H, W), target) -> (B, L, H, W)``; its model must be on ``device``.
        target: class of the object.
        image_key: volume ``(C, X, Y, Z)``, prepared as for the training of the classifier.
        output_key: key of the maps ``(L, X, Y, Z)``, >= 0, not normalised, on ``device``.
        tags_key: slice tags, one per slice. The map of a slice tagged 0 is zero. If None, or if the key is absent, all
            slices get a map.
        device: where the maps are computed.
        amp: run the model in mixed precision (:func:`camtools.precision.mixed_precision`). The maps are
            float32.

    Raises:
        ValueError: the number of tags differs from the number of slices.
    """

    def __init__(
        self,
        cam: Callable[..., torch.Tensor],
        target: int = 1,
        image_key: str = "image",
        output_key: str = "maps",
        tags_key: str | None = "slice_labels",
        device: str | torch.device = "cpu",
        amp: bool = False,
    ) -> None:
        self.cam = cam
        self.amp = amp
        self.target = target
        self.image_key = image_key
        self.output_key = output_key
        self.tags_key = tags_key
        self.device = torch.device(device)

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Add the maps of one volume."""
        result = dict(data)
        volume = result[self.image_key]
        slices = volume_to_slices(volume.as_tensor()).to(self.device).contiguous()
        positive = self._positive(result.get(self.tags_key) if self.tags_key else None, len(slices))
        with mixed_precision(self.device, self.amp):
            chosen = self.cam(slices[positive], target=self.target)
        maps = chosen.new_zeros((len(slices), *chosen.shape[1:]))
        maps[positive] = chosen
        result[self.output_key] = like_volume(slices_to_volume(maps), volume)
        return result

    def _positive(self, tags: Any, slices: int) -> torch.Tensor:
        if tags is None:
            return torch.arange(slices, device=self.device)
        if len(tags) != slices:
            raise ValueError(f"Expected one tag per slice, found {len(tags)} tags for {slices} slices.")
        return torch.as_tensor(np.flatnonzero(tags), device=self.device)


class NormalizeMapsd(MapTransform):
    """Scale each map by its own values. Maps of zeros stay zero.

    Args:
        keys: maps ``(L, X, Y, Z)``, >= 0.
        function: a function of :mod:`camtools.fusion`: ``normalize_max`` divides by the maximum,
            ``normalize_min_max`` maps the range to [0, 1].
    """

    def __init__(self, keys: KeysCollection, function: Maps = normalize_max) -> None:
        super().__init__(keys)
        self.function = function

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Scale the maps of each key."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = per_slice(self.function, result[key])
        return result


class FuseMapsd(MapTransform):
    """Fuse the maps of several layers into one, ``(L, X, Y, Z) -> (1, X, Y, Z)``.

    Args:
        keys: maps to fuse.
        fusion: a function of :mod:`camtools.fusion`, ``(B, L, H, W) -> (B, 1, H, W)``.
        output_key: key of the fused map.
    """

    def __init__(self, keys: KeysCollection, fusion: Maps, output_key: str = "cam") -> None:
        super().__init__(keys)
        self.fusion = fusion
        self.output_key = output_key

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Add the fused map."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[self.output_key] = per_slice(self.fusion, result[key])
        return result


class ThresholdMapsd(MapTransform):
    """Mask of each map: 1 where the map exceeds the threshold of its slice, ``(1, X, Y, Z) -> (1, X, Y, Z)``.

    Args:
        keys: fused maps, >= 0; the mask of a map of zeros is empty.
        rule: how the threshold is chosen, see :func:`camtools.thresholds.map_threshold`.
        output_key: key of the mask, float32.
    """

    def __init__(self, keys: KeysCollection, rule: Rule = "otsu", output_key: str = "mask") -> None:
        super().__init__(keys)
        self.rule = rule
        self.output_key = output_key

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Add the mask."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[self.output_key] = per_slice(self._mask, result[key])
        return result

    def _mask(self, maps: torch.Tensor) -> torch.Tensor:
        return (maps > per_pixel(map_threshold(maps, self.rule))).float()


class SeedPseudoLabeld(Transform):
    """Seed-derived pseudo-label (SPL) of a volume (UM-CAM, section 2.2), all slices at once.

    Applies :func:`camtools.geodesic.seed_pseudo_label` to the slices. The map is not changed. The seeds are added under
    ``foreground_seeds`` and ``background_seeds``, bool ``(1, X, Y, Z)``.

    Args:
        image_key: volume that defines the geodesic distance by its intensities.
        map_key: fused map ``(1, X, Y, Z)``, >= 0. Slices whose map is zero become pure background.
        output_key: key of the foreground probability ``(1, X, Y, Z)``. The background probability is one minus it.
        threshold: share of the range of a map, or ``"auto"``, see :func:`camtools.geodesic.pseudo_label_seeds`.
        alpha: decay of the exponential geodesic distance (eq. 5).
        margin: pixels by which the box around the object is enlarged. Its corners are the background seeds.
    """

    def __init__(
        self,
        image_key: str = "image",
        map_key: str = "cam",
        output_key: str = "spl",
        threshold: Literal["auto"] | float = "auto",
        alpha: float = 1.0,
        margin: int = 5,
    ) -> None:
        self.image_key = image_key
        self.map_key = map_key
        self.output_key = output_key
        self.threshold = threshold
        self.alpha = alpha
        self.margin = margin

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Add the pseudo-label and its seeds."""
        result = dict(data)
        volume = result[self.image_key]
        cam = volume_to_slices(result[self.map_key].as_tensor())
        images = volume_to_slices(volume.as_tensor()).to(cam.device)
        seeds = pseudo_label_seeds(images, cam, self.threshold, self.margin)
        label = spl_from_seeds(images, seeds, self.alpha)
        result[self.output_key] = like_volume(slices_to_volume(label[:, 1:]), volume)
        result["foreground_seeds"] = slices_to_volume(seeds.foreground)
        result["background_seeds"] = slices_to_volume(seeds.background)
        return result


class MaskAsPseudoLabeld(Transform):
    """Full supervision, the upper bound of the papers' tables: the mask replaces the pseudo-labels.

    This is the only place in camtools where a pixel mask of a training item is used for training.

    Args:
        label_key: mask ``(1, X, Y, Z)``.
        output_keys: pseudo-labels to replace.
    """

    def __init__(self, label_key: str = "label", output_keys: tuple[str, ...] = ("cam", "spl")) -> None:
        self.label_key = label_key
        self.output_keys = output_keys

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Store a copy of the mask under every output key."""
        result = dict(data)
        mask = (result[self.label_key] > 0.5).float()
        return result | {key: mask.clone() for key in self.output_keys}
