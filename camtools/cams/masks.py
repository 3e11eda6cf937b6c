"""Score an image under many masks, one for each channel of a layer: what Score-CAM spends its time on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from camtools.cams.base import upsample
from camtools.cams.passes import copies_per_pass, is_compiled
from camtools.cams.targets import as_logits

__all__ = ["channel_masks", "is_constant", "masked_scores"]


def channel_masks(channels: Tensor, size: torch.Size) -> Tensor:
    r"""Upsample channels to the size of the images and scale each to [0, 1] by its own minimum and maximum.

    .. math:: H_k = \frac{U(A_k) - \min U(A_k)}{\max U(A_k) - \min U(A_k)}

    with bilinear or trilinear upsampling :math:`U`, corners not aligned. A constant channel has no range: its mask is
    zero.

    Source: Wang et al., Score-CAM, CVPR workshops 2020, eq. 5-6 and algorithm 1.

    Args:
        channels: ``(N, 1, *spatial of the layer)``, floating point.
        size: spatial size of the images.

    Returns:
        ``(N, 1, *size)`` in 0..1, at least float32.

    Example:
        >>> import torch
        >>> channels = torch.tensor([[[[1.0, 3.0]]], [[[5.0, 5.0]]]])
        >>> channel_masks(channels, torch.Size((1, 4)))
        tensor([[[[0.0000, 0.2500, 0.7500, 1.0000]]],
        <BLANKLINE>
        <BLANKLINE>
                [[[0.0000, 0.0000, 0.0000, 0.0000]]]])
    """
    channels = channels.to(torch.promote_types(channels.dtype, torch.float32))
    masks = upsample(channels, size)
    spatial = tuple(range(1, masks.ndim))
    lowest = masks.amin(dim=spatial, keepdim=True)  # twenty times faster on a CPU than aminmax along a dimension
    span = masks.amax(dim=spatial, keepdim=True).sub_(lowest)
    # Upsampling may round a constant to several values: rounding must not become a mask.
    span.masked_fill_((span == 0) | is_constant(channels).view_as(span), torch.inf)
    return masks.sub_(lowest).div_(span)


def is_constant(activations: Tensor) -> Tensor:
    """Which channels ``(B, K)`` of activations ``(B, K, *spatial)`` have the same value everywhere.

    Example:
        >>> import torch
        >>> is_constant(torch.tensor([[[1.0, 2.0], [3.0, 3.0]]]))
        tensor([[False,  True]])
    """
    channels = activations.flatten(2)
    return channels.amin(dim=2) == channels.amax(dim=2)


def masked_scores(
    model: nn.Module,
    images: Tensor,
    activations: Tensor,
    score: Callable[[Tensor, Tensor], Tensor],
    batch_size: int | None = None,
    channels_last: bool = True,
) -> Tensor:
    """Score every image under the mask of each of its channels (:func:`channel_masks`).

    Masks are made chunk by chunk on the device, straight into the memory that the model reads: what they take is
    bounded by the chunk. A chunk goes on with the channels of the next image where one image ends. Constant channels
    (dead ReLUs, mostly) have the mask zero: one of them is scored for all those of an image.

    Args:
        model: classifier of masked images. All passes of a compiled model have one shape, so it is compiled once.
        images: ``(B, C, *spatial)``, B >= 1, of the model's type.
        activations: ``(B, K, *spatial of the layer)``.
        score: from logits ``(N, classes)`` and the numbers ``(N,)`` of the images they are of, in 0..B-1, to the scores
            ``(N,)``.
        batch_size: masked images in a pass. None: what is fast, on a CPU as for images that are not masked, elsewhere
            64 of 256 x 256 pixels.
        channels_last: give images ``(N, C, H, W)`` in the channels-last memory format.

    Returns:
        ``(B, K)``, at least float32.

    Example:
        >>> import torch
        >>> images, activations = torch.ones(1, 1, 1, 4), torch.tensor([[[[1.0, 3.0]], [[5.0, 5.0]]]])
        >>> model = torch.nn.Flatten()  # four logits, one for each pixel
        >>> masked_scores(model, images, activations, score=lambda logits, rows: logits[:, 2])
        tensor([[0.7500, 0.0000]])
    """
    constant = is_constant(activations)
    first = constant.int().argmax(dim=1, keepdim=True)
    rows, channels = (~constant).scatter_(1, first, True).nonzero(as_tuple=True)
    count = len(rows)
    size = min(copies_per_pass(images, batch_size), constant.numel())
    if is_compiled(model):
        rows, channels = (torch.cat([index, index[-1:].expand(-count % size)]) for index in (rows, channels))
    chunks = [
        score(as_logits(model(inputs), len(inputs)), row).clone()  # the model may return its input, which is used again
        for row, inputs in _masked_images(images, activations, rows.split(size), channels.split(size), channels_last)
    ]
    scored = torch.cat(chunks)[:count]
    scores = scored.new_zeros(constant.shape, dtype=torch.promote_types(scored.dtype, torch.float32))
    scores[rows[:count], channels[:count]] = scored.to(scores.dtype)
    return torch.where(constant, scores.gather(1, first), scores)


def _masked_images(
    images: Tensor, activations: Tensor, rows: Sequence[Tensor], channels: Sequence[Tensor], channels_last: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """For each chunk, its rows and its masked images, always in the same memory.

    Products are computed in float32 and rounded once, to the model's type: masks in half precision would be no faster,
    and a little less exact.
    """
    memory_format = torch.channels_last if channels_last and images.ndim == 4 else torch.contiguous_format
    wide = images.to(torch.promote_types(images.dtype, torch.float32))
    shape = (len(rows[0]), *images.shape[1:])
    products = torch.empty(shape, dtype=wide.dtype, device=wide.device, memory_format=memory_format)
    rounded = products if wide is images else torch.empty_like(products, dtype=images.dtype)
    for row, channel in zip(rows, channels, strict=True):
        masks = channel_masks(activations[row, channel][:, None], images.shape[2:])
        inputs = rounded[: len(row)]
        torch.mul(wide if len(wide) == 1 else wide[row], masks, out=products[: len(row)])
        if inputs.dtype != wide.dtype:
            inputs.copy_(products[: len(row)])
        yield row, inputs
