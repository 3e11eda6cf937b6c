"""Random gamma and scale of the intensities, and their normalisation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from camtools.augment.batch import Batch, between, check_probability, check_range, frame_mask, frames, move

__all__ = ["Normalize", "RandomGamma", "RandomScaleIntensity"]


class RandomGamma:
    """Raise the intensities of a sample to a random power, between its own minimum and maximum.

    x' = ((x - m) / (M - m + 1e-7)) ** gamma (M - m) + m, with minimum m and maximum M over all channels of the frame;
    what lies outside the frame does not change. This is MONAI's RandAdjustContrastd.

    Args:
        gamma: smallest and largest power, 0 or more.
        prob: probability of a change.

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> gamma = RandomGamma((2.0, 2.0), prob=1.0)
        >>> gamma({"image": torch.tensor([[[[0.0, 0.5, 1.0]]]])}, torch.zeros(1, 2))["image"].round(decimals=4)
        tensor([[[[0.0000, 0.2500, 1.0000]]]])
    """

    draws = 2  # whether to change, power

    def __init__(self, gamma: Sequence[float], prob: float = 0.5) -> None:
        self.gamma = check_range("gamma", gamma, 0)
        check_probability("prob", prob)
        self.prob = prob

    def __call__(self, batch: Batch, uniform: Tensor) -> Batch:
        """The batch with new intensities."""
        uniform = uniform.cpu()
        chosen = (uniform[:, 0] < self.prob).nonzero()[:, 0]
        if len(chosen) == 0:
            return dict(batch)
        whole = batch["image"]
        where = move(chosen, whole.device)
        image = whole.index_select(0, where)
        power = move(between(uniform[chosen, 1], self.gamma).to(image.dtype), image.device).view(-1, 1, 1, 1)
        mask = frame_mask(frames(batch)[chosen], image)
        low, high = image, image
        if mask is not None:
            low, high = torch.where(mask, image, torch.inf), torch.where(mask, image, -torch.inf)
        low, high = low.amin((1, 2, 3), keepdim=True), high.amax((1, 2, 3), keepdim=True)
        values = (image - low).div_(high - low + 1e-7).pow_(power).mul_(high - low).add_(low)
        if mask is not None:
            values = torch.where(mask, values, image)
        return {**batch, "image": whole.index_copy(0, where, values)}


class RandomScaleIntensity:
    """Multiply the intensities of a sample by 1 + f, f uniform in [-factor, factor]: MONAI's RandScaleIntensityd.

    Args:
        factor: largest change, 0 or more.
        prob: probability of a change.

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> scale = RandomScaleIntensity(0.4, prob=1.0)
        >>> scale({"image": torch.ones(1, 1, 1, 2)}, torch.zeros(1, 2))["image"]
        tensor([[[[0.6000, 0.6000]]]])
    """

    draws = 2  # whether to change, factor

    def __init__(self, factor: float, prob: float = 0.5) -> None:
        self.factor = check_range("factor", (0.0, factor), 0)[1]
        check_probability("prob", prob)
        self.prob = prob

    def __call__(self, batch: Batch, uniform: Tensor) -> Batch:
        """The batch with new intensities."""
        image = batch["image"]
        uniform = uniform.cpu()
        factor = 1 + between(uniform[:, 1], (-self.factor, self.factor))
        factor = torch.where(uniform[:, 0] < self.prob, factor, 1.0).to(image.dtype)
        return {**batch, "image": image * move(factor, image.device).view(-1, 1, 1, 1)}


class Normalize:
    """Subtract a mean and divide by a standard deviation, of each channel or of all; outside the frame stays 0.

    Args:
        mean: one number, or one per channel.
        std: one number, or one per channel, above 0.

    Raises:
        ValueError: a standard deviation of 0 or less, or another number of channels than the image has.

    Example:
        >>> Normalize([0.5], [0.25])({"image": torch.ones(1, 1, 1, 2)}, torch.zeros(1, 0))["image"]
        tensor([[[[2., 2.]]]])
    """

    draws = 0

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        self.mean = torch.as_tensor(mean, dtype=torch.float32).reshape(-1, 1, 1)
        self.std = torch.as_tensor(std, dtype=torch.float32).reshape(-1, 1, 1)
        if bool((self.std <= 0).any()):
            raise ValueError(f"Expected standard deviations above 0, found {std}.")

    def __call__(self, batch: Batch, uniform: Tensor) -> Batch:
        """The batch with normalised intensities."""
        image = batch["image"]
        for values in (self.mean, self.std):
            if len(values) not in (1, image.shape[1]):
                raise ValueError(f"Expected 1 or {image.shape[1]} values, one per channel, found {len(values)}.")
        normalised = (image - move(self.mean, image.device)) / move(self.std, image.device)
        mask = frame_mask(frames(batch), image)
        if mask is not None:
            normalised = torch.where(mask, normalised, 0)
        return {**batch, "image": normalised}
