"""Several random views of one image, for contrastive pre-training."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import Compose, MapTransform, Randomizable

__all__ = ["RandViewsd"]


class RandViewsd(Randomizable, MapTransform):
    """Augment an image several times and stack the results: ``(C, H, W) -> (V, C, H, W)``.

    Source: Khosla et al., Supervised Contrastive Learning, NeurIPS 2020, section 3.1 (two views of each sample).

    Args:
        keys: images.
        transform: random dictionary transforms; all their results must have the same shape.
        views: number of views.

    Raises:
        ValueError: fewer than two views.

    Example:
        >>> import torch
        >>> from monai.transforms import RandFlipd
        >>> two_views = RandViewsd("image", RandFlipd("image", prob=0.5))
        >>> two_views({"image": torch.rand(1, 8, 8)})["image"].shape
        torch.Size([2, 1, 8, 8])
    """

    def __init__(self, keys: KeysCollection, transform: Callable[[Any], Any], views: int = 2) -> None:
        super().__init__(keys)
        if views < 2:
            raise ValueError(f"Expected 2 or more views, found {views}.")
        self.transform = transform
        self.views = views

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> RandViewsd:
        """Fix the random draws of all views."""
        super().set_random_state(seed, state)
        if isinstance(self.transform, Compose | Randomizable):
            self.transform.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Stack the views of each key."""
        result = dict(data)
        views = [self.transform(dict(data)) for _ in range(self.views)]
        for key in self.key_iterator(result):
            result[key] = torch.stack([view[key] for view in views])
        return result
