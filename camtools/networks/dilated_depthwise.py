"""Dilated depthwise convolution, fast on a CPU."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["DilatedDepthwiseConv2d"]


class DilatedDepthwiseConv2d(nn.Conv2d):
    """Depthwise convolution that keeps the size of its input, with the parameters of :class:`torch.nn.Conv2d`.

    With a dilation of d, each of the d x d grids of every d-th row and column is convolved separately. On a CPU, an
    ordinary convolution therefore processes the grids as separate images: oneDNN has no fast depthwise convolution
    for a dilation of 4, and no fast gradient for one of 2.

    Args:
        channels: of the input and the result.
        kernel_size: odd.
        dilation: d.

    Example:
        >>> import torch
        >>> convolution = DilatedDepthwiseConv2d(16, kernel_size=5, dilation=4)
        >>> convolution(torch.rand(2, 16, 9, 7)).shape
        torch.Size([2, 16, 9, 7])
    """

    def __init__(self, channels: int, kernel_size: int, dilation: int) -> None:
        padding = dilation * (kernel_size // 2)
        super().__init__(
            channels, channels, kernel_size, padding=padding, dilation=dilation, groups=channels, bias=False
        )

    def forward(self, input: Tensor) -> Tensor:
        """Convolve ``(B, channels, H, W)``."""
        d = self.dilation[0]
        if d == 1 or not input.is_cpu:
            return F.conv2d(input, self.weight, None, self.stride, self.padding, self.dilation, self.groups)
        B, C, H, W = input.shape
        rows, columns = (H + d - 1) // d, (W + d - 1) // d
        if H % d != 0 or W % d != 0:
            input = F.pad(input, [0, columns * d - W, 0, rows * d - H])
        # channels last throughout, so that whole positions are copied
        grids = input.permute(0, 2, 3, 1).reshape(B, rows, d, columns, d, C).permute(0, 2, 4, 1, 3, 5)
        # the images first: whoever follows the axes sees that grids are parts of an image, also where there is only one
        grids = grids.reshape(B * d * d, rows, columns, C).permute(0, 3, 1, 2)
        grids = F.conv2d(grids, self.weight, None, 1, self.kernel_size[0] // 2, 1, self.groups)
        grids = grids.permute(0, 2, 3, 1).reshape(B, d, d, rows, columns, C).permute(0, 3, 1, 4, 2, 5)
        return grids.reshape(B, rows * d, columns * d, C)[:, :H, :W].permute(0, 3, 1, 2)
