"""Dense CRF refinement of the activation maps of volumes, slice by slice."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch
from monai.transforms import Transform

from camtools.crf import DenseCRF
from camtools.data.geometry import volume_to_slices
from camtools.transforms.maps import per_slice

__all__ = ["DenseCRFd"]


class DenseCRFd(Transform):
    """Refine the activation map of a volume so that it agrees with the image (Cfd-CAM, step 6).

    Args:
        image_key: volume ``(C, X, Y, Z)``, each slice in [0, 1]. All channels count alike.
        map_key: map ``(1, X, Y, Z)`` in [0, 1], the probability of the object. The CRF runs on its device.
        output_key: key of the foreground probability ``(1, X, Y, Z)``, float32, with the geometry of the map. The mask
            is where it exceeds 0.5.
        crf: ``crf(images (B, C, H, W), maps (B, 1, H, W)) -> (B, 2, H, W)``; None takes :class:`camtools.crf.DenseCRF`
            with the parameters of the paper.

    Raises:
        ValueError: :func:`camtools.crf.dense_crf` rejects the input, such as a map with another size than the image.
        ImportError: the CRF needs pydensecrf, which is not installed.
    """

    def __init__(
        self,
        image_key: str = "image",
        map_key: str = "cam",
        output_key: str = "mask",
        crf: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        self.image_key = image_key
        self.map_key = map_key
        self.output_key = output_key
        self.crf = DenseCRF() if crf is None else crf

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the refined probability."""
        result = dict(data)
        volume = result[self.map_key]
        images = volume_to_slices(result[self.image_key].as_tensor()).to(volume.device)
        result[self.output_key] = per_slice(lambda maps: self.crf(images, maps)[:, 1:], volume)
        return result
