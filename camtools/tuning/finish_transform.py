"""From the class probabilities of a segmenter to its mask, as a training chose."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.transforms import KeepLargestConnectedComponent, Transform
from monai.utils import convert_to_dst_type

from camtools.tuning.finish import FinishChoice, read_finish

__all__ = ["ChosenFinishd"]


class ChosenFinishd(Transform):
    """Convert class probabilities ``pred`` ``(2, X, Y, Z)`` to the mask of the object, ``(1, X, Y, Z)``.

    The file is read with the first volume, since it does not exist before a training.

    Args:
        path: file of the choice (:func:`camtools.tuning.read_finish`).
        threshold: replaces that of the file.
        largest_component: replaces that of the file.
        key: the probabilities, background first.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: there are not two classes.
    """

    def __init__(
        self,
        path: str | Path,
        threshold: float | None = None,
        largest_component: bool | None = None,
        key: str = "pred",
    ) -> None:
        self.path = path
        self.threshold = threshold
        self.largest_component = largest_component
        self.key = key
        self._choice: FinishChoice | None = None

    @property
    def choice(self) -> FinishChoice:
        """What is applied."""
        if self._choice is None:
            self._choice = read_finish(self.path, self.threshold, self.largest_component)
        return self._choice

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the probabilities by the mask, in the same type."""
        shares = data[self.key]
        if len(shares) != 2:
            raise ValueError(
                f"Expected the probabilities of 2 classes, found {len(shares)}. Leave out the threshold: the class "
                "with the largest probability is then taken."
            )
        mask = (torch.as_tensor(shares)[1:] > self.choice.threshold).float()
        if self.choice.largest_component:
            mask = torch.as_tensor(KeepLargestConnectedComponent()(mask))
        return dict(data) | {self.key: convert_to_dst_type(mask, shares)[0]}
