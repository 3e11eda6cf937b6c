"""Overlapping square patches of images: extract them, count their classes, and put them together again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["PatchGrid"]


@dataclass(frozen=True)
class PatchGrid:
    """Square patches at a fixed stride; the last row and column end at the edge of the image, so no pixel is left out.

    An image smaller than a patch has one patch along that side; the edge pixels of the image are repeated.

    Source: OEEM (Li et al., MICCAI 2022), section 3.1: side 112, stride 56.

    Args:
        size: side of a patch in pixels.
        stride: pixels from one patch to the next; the last two of a row may be closer.

    Raises:
        ValueError: a size or stride below 1, or a stride that leaves gaps.

    Example:
        >>> PatchGrid(size=4, stride=3).corners(4, 9)
        [(0, 0), (0, 3), (0, 5)]
    """

    size: int = 112
    stride: int = 56

    def __post_init__(self) -> None:
        """Check size and stride."""
        if not 1 <= self.stride <= self.size:
            raise ValueError(
                "expected a stride of at least 1 and at most the patch size, so that patches leave no gap, "
                f"found size={self.size}, stride={self.stride}"
            )

    def corners(self, height: int, width: int) -> list[tuple[int, int]]:
        """First pixel ``(row, column)`` of every patch of an image, row by row."""
        return [(row, column) for row in self._starts(height) for column in self._starts(width)]

    def extract(self, images: Tensor) -> Tensor:
        """Extract the patches.

        Args:
            images: ``(B, C, H, W)``, floating point.

        Returns:
            ``(B, N, C, size, size)``, N patches in the order of :meth:`corners`.

        Example:
            >>> PatchGrid(2, 1).extract(torch.arange(3.0).view(1, 1, 1, 3))[0, :, 0, 0]
            tensor([[0., 1.],
                    [1., 2.]])
        """
        padded = self.padded(images)
        rows = padded.unfold(2, self.size, 1)[:, :, self._starts(images.shape[2])]
        patches = rows.unfold(3, self.size, 1)[:, :, :, self._starts(images.shape[3])]
        return patches.flatten(2, 3).transpose(1, 2).contiguous()

    def stitch(self, patches: Tensor, height: int, width: int) -> Tensor:
        """Put patches together; where they overlap, their values are averaged. Undoes :meth:`extract`.

        Args:
            patches: ``(B, N, K, size, size)``, in the order of :meth:`corners`.
            height: of the image.
            width: of the image.

        Returns:
            ``(B, K, height, width)``.

        Raises:
            ValueError: a number or size of patches other than this grid's.
        """
        corners = self.corners(height, width)
        if patches.ndim != 5 or patches.shape[1] != len(corners) or patches.shape[3:] != (self.size, self.size):
            raise ValueError(
                f"expected patches (B, {len(corners)}, K, {self.size}, {self.size}) for an image of {height} x {width} "
                f"pixels, found {tuple(patches.shape)}"
            )
        batch, _, channels = patches.shape[:3]
        shape = (max(height, self.size), max(width, self.size))
        side = torch.arange(self.size, device=patches.device)
        first = torch.tensor(corners, device=patches.device)
        rows, columns = first[:, 0, None, None] + side[:, None], first[:, 1, None, None] + side
        pixels = (rows * shape[1] + columns).flatten()
        values = patches.transpose(1, 2).reshape(batch, channels, -1)
        total = values.new_zeros(batch, channels, shape[0] * shape[1]).index_add_(2, pixels, values)
        count = torch.bincount(pixels, minlength=shape[0] * shape[1])
        return (total / count).view(batch, channels, *shape)[:, :, :height, :width]

    def class_shares(self, labels: Tensor, num_classes: int) -> Tensor:
        """Share of each class in the pixels of each patch; pixels beyond the edge of the image do not count.

        Args:
            labels: integer classes ``(B, 1, H, W)``, 0 to ``num_classes - 1``.
            num_classes: K.

        Returns:
            ``(B, N, K)`` float32 in [0, 1], summing to 1 over the classes.

        Example:
            >>> labels = torch.tensor([[[[0, 0, 0, 1]]]])
            >>> PatchGrid(2, 1).class_shares(labels, 2)[0].tolist()
            [[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]]
        """
        one_hot = F.one_hot(labels[:, 0].long(), num_classes).movedim(-1, 1).float()
        # padded with pixels of no class, because extract would repeat the edge
        beyond = (0, self._beyond(labels.shape[3]), 0, self._beyond(labels.shape[2]))
        counts = self.extract(F.pad(one_hot, beyond)).sum(dim=(3, 4))
        return counts / counts.sum(dim=2, keepdim=True)

    def padded(self, images: Tensor) -> Tensor:
        """Repeat the edge pixels of images ``(B, C, H, W)`` that are smaller than a patch, to the size of a patch."""
        height, width = images.shape[2:]
        if min(height, width) >= self.size:
            return images
        return F.pad(images, (0, self._beyond(width), 0, self._beyond(height)), mode="replicate")

    def _starts(self, length: int) -> list[int]:
        last = max(length - self.size, 0)
        return [*range(0, last, self.stride), last]

    def _beyond(self, length: int) -> int:
        return max(self.size - length, 0)
