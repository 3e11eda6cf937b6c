"""Layouts of activations other than ``(B, C, *spatial)``: what to give as ``reshape``."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from itertools import product

from torch import Tensor

__all__ = ["Tokens", "channels_first", "channels_last"]

MOST_EXTRA = 16  # class and register tokens that are accepted without ``extra``


def channels_last(output: Tensor) -> Tensor:
    """Read ``(B, *spatial, C)``, as of the blocks of a Swin transformer, as ``(B, C, *spatial)``.

    Example:
        >>> import torch
        >>> channels_last(torch.zeros(2, 7, 5, 96)).shape
        torch.Size([2, 96, 7, 5])
    """
    return output.movedim(-1, 1)


def channels_first(output: Tensor) -> Tensor:
    """Read ``(B, C, *spatial)`` unchanged, for models that do not show which axis holds the channels.

    Example:
        >>> import torch
        >>> channels_first(torch.zeros(2, 8, 8, 8)).shape
        torch.Size([2, 8, 8, 8])
    """
    return output


class Tokens:
    """Read the tokens ``(B, N, C)`` of a vision transformer as ``(B, C, *grid)``.

    The patch tokens come last, row by row; the tokens before them (class and register tokens) are left out. Other
    layers in the same list whose outputs have the dimensions of the images are not affected. For tokens in another
    order, pass your own function instead, from the output of the layer to
    ``(B, C, *spatial)``.

    Args:
        grid: number of patches along each spatial axis of the image. None: seen from the model, where it makes one
            axis of the axes of its patches; else from ``patch_size``, or from square patches that fit.
        patch_size: side of a patch in pixels, one for all axes or one for each.
        extra: number of tokens before the patch tokens. None: all remaining ones, at most 16 unless ``grid`` is given.
        batch_first: False for ``(N, B, C)``, as in the layers of torch's own transformer.

    Raises:
        ValueError: a number that is not positive; when called: tokens that do not fit.

    Example:
        >>> import torch
        >>> Tokens(grid=(14, 14))(torch.zeros(2, 197, 768)).shape  # a class token and 14 x 14 patches
        torch.Size([2, 768, 14, 14])
    """

    def __init__(
        self,
        grid: Sequence[int] | None = None,
        patch_size: int | Sequence[int] | None = None,
        extra: int | None = None,
        batch_first: bool = True,
    ) -> None:
        numbers = [*(grid or ()), *((patch_size,) if isinstance(patch_size, int) else patch_size or ())]
        if any(number < 1 for number in numbers) or (extra is not None and extra < 0):
            raise ValueError(
                f"expected a grid and a patch_size of positive numbers and extra >= 0, found grid={grid}, "
                f"patch_size={patch_size}, extra={extra}"
            )
        self.grid = None if grid is None else tuple(grid)
        self.patch_size = patch_size
        self.extra = extra
        self.batch_first = batch_first

    def __call__(
        self, tokens: Tensor, size: Sequence[int] | None = None, seen: Collection[Sequence[int]] = ()
    ) -> Tensor:
        """Read tokens.

        Args:
            tokens: ``(B, N, C)``, or ``(N, B, C)`` unless ``batch_first``.
            size: spatial size of the images; not needed where ``grid`` was given.
            seen: grids of patches that the model was seen to make tokens of.

        Returns:
            ``(B, C, *grid)``.

        Raises:
            ValueError: tokens of another number of dimensions, or whose number fits no grid.
        """
        if tokens.ndim != 3:
            raise ValueError(f"Tokens reads (B, N, C) or (N, B, C), found {tuple(tokens.shape)}; give another reshape")
        batch_first = tokens if self.batch_first else tokens.transpose(0, 1)
        grid = self._grid(batch_first.shape[1], tuple(size or ()), seen)
        patches = batch_first[:, batch_first.shape[1] - math.prod(grid) :]
        return patches.transpose(1, 2).reshape(len(patches), -1, *grid)

    def _grid(self, count: int, size: tuple[int, ...], seen: Collection[Sequence[int]]) -> tuple[int, ...]:
        if self.grid is not None:
            fitting = self._fitting(count, [self.grid], count)
        elif self.patch_size is not None:
            fitting = self._fitting(count, _grids_of_patches(size, self.patch_size), MOST_EXTRA)
        else:
            fitting = self._fitting(count, [grid for grid in seen if len(grid) == len(size)], MOST_EXTRA)
            fitting = fitting or self._fitting(count, _grids_that_divide(size), MOST_EXTRA)
        if len(fitting) != 1:
            raise ValueError(
                f"expected tokens of one grid of patches of the images {size}, with extra={self.extra} tokens before "
                f"them, found {count} tokens, which fit {sorted(fitting) or 'none'} (grid={self.grid}, "
                f"patch_size={self.patch_size}); pass reshape=Tokens(grid=(rows, columns), extra=...)"
            )
        return fitting.pop()

    def _fitting(self, count: int, grids: Collection[Sequence[int]], most: int) -> set[tuple[int, ...]]:
        """The grids that leave ``extra`` other tokens; without ``extra``, the grids that leave the fewest."""
        left = {tuple(grid): count - math.prod(grid) for grid in grids}
        if self.extra is not None:
            return {grid for grid, extra in left.items() if extra == self.extra}
        possible = {grid: extra for grid, extra in left.items() if 0 <= extra <= most}
        return {grid for grid, extra in possible.items() if extra == min(possible.values())}


def _grids_of_patches(size: tuple[int, ...], patch_size: int | Sequence[int]) -> list[tuple[int, ...]]:
    """Whole patches, or with the rest of the image padded to one more."""
    sides = (patch_size,) * len(size) if isinstance(patch_size, int) else tuple(patch_size)
    if len(sides) != len(size):
        raise ValueError(f"expected a patch_size of {len(size)} numbers for images {size}, found {patch_size}")
    lengths = zip(size, sides, strict=True)
    return [grid for grid in product(*({length // side, -(-length // side)} for length, side in lengths)) if all(grid)]


def _grids_that_divide(size: tuple[int, ...]) -> list[tuple[int, ...]]:
    sides = [side for side in range(1, min(size, default=0) + 1) if all(length % side == 0 for length in size)]
    return [tuple(length // side for length in size) for side in sides]
