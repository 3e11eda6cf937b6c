"""The map and the mask of a choice for the positive slices of a volume."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Transform
from torch import nn

from camtools.data.geometry import slices_to_volume, volume_to_slices
from camtools.transforms import ActivationMapsd
from camtools.transforms.maps import like_volume
from camtools.tuning.choice import MaskChoice, read_choice
from camtools.tuning.fusions import fused_map
from camtools.tuning.masks import choice_cam, choice_mask

__all__ = ["TunedMasksd"]


class TunedMasksd(Transform):
    """Fused map and mask of every positive slice of a volume, as a tuning chose them.

    The choice is read when the first volume comes, so a bundle may name a file that an earlier stage writes.

    Args:
        choice: a :class:`MaskChoice`, its dictionary, or the path of ``choice.json``.
        network: trained classifier, on ``device``.
        target: class of the object; 0 for a classifier of one logit.
        image_key: volume ``(C, X, Y, Z)``, prepared as for the training of the classifier.
        map_key: key of the fused map ``(1, X, Y, Z)`` in [0, 1], on ``device``.
        output_key: key of the mask ``(1, X, Y, Z)``, float32, 0 or 1, on ``device``.
        tags_key: slice tags, one per slice; map and mask of a slice tagged 0 are zero. If None, or if the key is
            absent, all slices get a mask.
        device: where maps and refinements are computed.
        amp: run the network in mixed precision.
        batch_size: images per pass; None chooses.

    Raises:
        FileNotFoundError: on the first volume, there is no such file.
        DataError: on the first volume, the file is damaged.
        ValueError: the number of tags differs from the number of slices, or the choice names another network's layers.
    """

    def __init__(
        self,
        choice: MaskChoice | Mapping[str, Any] | str | Path,
        network: nn.Module,
        target: int = 1,
        image_key: str = "image",
        map_key: str = "cam",
        output_key: str = "mask",
        tags_key: str | None = "slice_labels",
        device: str | torch.device = "cpu",
        amp: bool = False,
        batch_size: int | None = None,
    ) -> None:
        self.source = choice
        self.network = network
        self.image_key = image_key
        self.map_key = map_key
        self.output_key = output_key
        self.batch_size = batch_size
        self._settings: dict[str, Any] = {"target": target, "tags_key": tags_key, "device": device, "amp": amp}
        self._read: tuple[MaskChoice, ActivationMapsd] | None = None

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the map and the mask of one volume."""
        choice, activation_maps = self._choice()
        volume = data[self.image_key]
        maps = activation_maps(data)[self.map_key]
        fused = fused_map(volume_to_slices(maps.as_tensor()), choice.fusion)
        images = volume_to_slices(volume.as_tensor())
        masks = choice_mask(choice, images, fused).float()
        added = {self.map_key: fused, self.output_key: masks}
        return dict(data) | {key: like_volume(slices_to_volume(one), volume) for key, one in added.items()}

    def _choice(self) -> tuple[MaskChoice, ActivationMapsd]:
        if self._read is None:
            choice = read_choice(self.source)
            cam = choice_cam(choice, self.network, self.batch_size)
            maps = ActivationMapsd(cam, image_key=self.image_key, output_key=self.map_key, **self._settings)
            self._read = choice, maps
        return self._read
