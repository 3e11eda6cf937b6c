"""Score an image under one mask per channel of a layer, which takes most of the time of Score-CAM."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from camtools.cams.base import upsample
from camtools.cams.passes import copies_per_pass, is_compiled
from camtools.cams.targets import as_logits

__all__ = ["channel_masks", "channel_ranges", "is_constant", "masked_scores", "scaled_channels"]


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
    lowest, span = (values[0] for values in channel_ranges(channels[None, :, 0], size, chunk=len(channels)))
    return scaled_channels(channels, lowest, span, size)


def scaled_channels(channels: Tensor, lowest: Tensor, span: Tensor, size: torch.Size) -> Tensor:
    """Upsample channels ``(N, 1, *spatial of the layer)`` and scale them by known ranges ``(N,)``.

    See :func:`channel_masks` and :func:`channel_ranges`.
    """
    shape = (-1, *(1 for _ in channels.shape[1:]))
    masks = upsample(channels.to(lowest.dtype), size)
    return masks.sub_(lowest.view(shape)).div_(span.view(shape))


def channel_ranges(activations: Tensor, size: torch.Size, chunk: int) -> tuple[Tensor, Tensor]:
    """Range of every channel once it is upsampled to the size of the images: what scales it to [0, 1].

    Args:
        activations: ``(B, K, *spatial of the layer)``.
        size: spatial size of the images.
        chunk: channels upsampled at a time.

    Returns:
        Lowest value and span, each ``(B, K)``, at least float32; the span of a constant channel is infinite.

    Example:
        >>> import torch
        >>> channel_ranges(torch.tensor([[[[1.0, 3.0]], [[5.0, 5.0]]]]), torch.Size((1, 4)), chunk=1)
        (tensor([[1., 5.]]), tensor([[2., inf]]))
    """
    wide = activations.to(torch.promote_types(activations.dtype, torch.float32))
    lowest, span = [], []
    for part in wide.flatten(0, 1)[:, None].split(max(chunk, 1)):
        masks = upsample(part, size).flatten(1)
        lowest.append(masks.amin(dim=1))  # twenty times faster on a CPU than aminmax along a dimension
        span.append(masks.amax(dim=1).sub_(lowest[-1]))
    low, width = (torch.cat(parts).view(activations.shape[:2]) for parts in (lowest, span))
    # Upsampling may round a constant to several values: rounding must not become a mask.
    return low, width.masked_fill_((width == 0) | is_constant(activations), torch.inf)


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
    ranges: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Score every image under the mask of each of its channels (:func:`channel_masks`).

    Masks are made chunk by chunk on the device, straight into the memory that the model reads: what they take is
    bounded by the chunk. Where the channels of one image end, a chunk continues with the next image. Constant channels
    (mostly dead ReLUs) have the mask zero: one of them is scored for all constant channels of an image.

    Args:
        model: classifier of masked images. All passes of a compiled model have one shape, so it is compiled once.
        images: ``(B, C, *spatial)``, B >= 1, of the model's type.
        activations: ``(B, K, *spatial of the layer)``.
        score: from logits ``(N, classes)`` and the numbers ``(N,)`` of the images they are of, in 0..B-1, to the scores
            ``(N,)``.
        batch_size: masked images in a pass. None: what is fast, on a CPU as for images that are not masked, elsewhere
            64 of 256 x 256 pixels.
        channels_last: give images ``(N, C, H, W)`` in the channels-last memory format.
        ranges: of the channels (:func:`channel_ranges`), where they are known; otherwise they are computed.

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
    lowest, span = channel_ranges(activations, images.shape[2:], size) if ranges is None else ranges
    masks = (
        scaled_channels(activations[row, channel][:, None], lowest[row, channel], span[row, channel], images.shape[2:])
        for row, channel in zip(rows.split(size), channels.split(size), strict=True)
    )
    chunks = [
        score(as_logits(model(inputs), len(inputs)), row).clone()  # the model may return its input, which is used again
        for row, inputs in _masked_images(images, masks, rows.split(size), channels_last)
    ]
    scored = torch.cat(chunks)[:count]
    scores = scored.new_zeros(constant.shape, dtype=torch.promote_types(scored.dtype, torch.float32))
    scores[rows[:count], channels[:count]] = scored.to(scores.dtype)
    return torch.where(constant, scores.gather(1, first), scores)


def _masked_images(
    images: Tensor, masks: Iterable[Tensor], rows: Sequence[Tensor], channels_last: bool
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
    for row, mask in zip(rows, masks, strict=True):
        inputs = rounded[: len(row)]
        torch.mul(wide if len(wide) == 1 else wide[row], mask, out=products[: len(row)])
        if inputs.dtype != wide.dtype:
            inputs.copy_(products[: len(row)])
        yield row, inputs
