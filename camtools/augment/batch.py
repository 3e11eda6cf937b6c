"""What the steps share: the frames of a batch, parameters from uniform numbers, checks of arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

__all__ = ["Batch", "Step", "between", "check_probability", "check_range", "check_size", "frame_mask", "frames"]

Batch = dict[str, Any]


class Step(Protocol):
    """One step of an augmentation.

    ``draws`` is the number of uniform random numbers that a sample needs. The call takes a batch and these numbers,
    ``(B, draws)`` float64 in [0, 1) on the CPU, and returns a new batch.
    """

    draws: int

    def __call__(self, batch: Batch, uniform: Tensor) -> Batch:
        """Change the batch as the numbers say."""


def frames(batch: Batch) -> Tensor:
    """Height and width of each sample, ``(B, 2)`` int64 on the CPU; the whole canvas where the batch has no frame."""
    image = batch["image"]
    height, width = image.shape[-2:]
    if batch.get("frame") is None:
        return torch.tensor([[height, width]]).expand(len(image), 2)
    frame = torch.as_tensor(batch["frame"]).cpu().long()
    if frame.shape != (len(image), 2):
        raise ValueError(f"Expected a frame of shape ({len(image)}, 2), found {tuple(frame.shape)}.")
    if bool((frame < 1).any()) or bool((frame > torch.tensor([height, width])).any()):
        raise ValueError(f"Expected frames between 1 x 1 and {height} x {width}, found {frame.tolist()}.")
    return frame


def frame_mask(frame: Tensor, image: Tensor) -> Tensor | None:
    """True inside each frame, ``(B, 1, H, W)`` on the device of the image. None if every frame fills the canvas."""
    height, width = image.shape[-2:]
    if bool((frame == torch.tensor([height, width])).all()):
        return None
    rows = torch.arange(height) < frame[:, :1]
    columns = torch.arange(width) < frame[:, 1:]
    return move(rows, image.device)[:, None, :, None] & move(columns, image.device)[:, None, None, :]


def move(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a small tensor to the device without waiting for the work that is queued there."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def between(uniform: Tensor, limits: tuple[float, float]) -> Tensor:
    """Uniform numbers in [0, 1) as uniform numbers between the limits."""
    return limits[0] + (limits[1] - limits[0]) * uniform


def check_probability(name: str, value: float) -> None:
    """Raise a ValueError unless the value is in [0, 1]."""
    if not 0 <= value <= 1:
        raise ValueError(f"Expected {name} in [0, 1], found {value}.")


def check_range(name: str, limits: Sequence[float], low: float, high: float = float("inf")) -> tuple[float, float]:
    """The two limits, as a tuple, if they are in order and inside [low, high]."""
    if len(limits) != 2 or not low <= limits[0] <= limits[1] <= high:
        raise ValueError(
            f"Expected {name} as two numbers in ascending order in [{low:g}, {high:g}], found {list(limits)}."
        )
    return float(limits[0]), float(limits[1])


def check_size(size: int | Sequence[int]) -> tuple[int, int]:
    """Height and width from one number or from two."""
    pair = [size, size] if isinstance(size, int) else list(size)
    if len(pair) != 2 or min(pair) < 1:
        raise ValueError(f"Expected size as a height and a width of 1 or more, found {size}.")
    return int(pair[0]), int(pair[1])
