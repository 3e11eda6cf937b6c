"""How a batch is fed to a model: chunks, memory format, type, compiled models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from camtools.process import memory_is_reused

__all__ = [
    "check_images",
    "copies_per_pass",
    "eager",
    "fresh_autocast_cache",
    "images_per_pass",
    "is_compiled",
    "prepare_images",
    "uncompiled",
]

# Four images of 256 x 256 keep the activations of a pass near the caches of a CPU. Where freed memory is reused, larger
# passes cost no page faults, and a large fully connected layer is read less often.
CPU_PIXELS = 4 * 256 * 256
CPU_PIXELS_REUSED = 16 * 256 * 256
ACCELERATOR_PIXELS = 64 * 256 * 256


def images_per_pass(images: Tensor, batch_size: int | None) -> int:
    """Images in one pass through the model: ``batch_size``, or what is fast on the device where it is None.

    On a CPU that is 4 images of 256 x 256 pixels, or as many smaller ones as have the same number of pixels (16 after
    :func:`camtools.process.reuse_memory`); elsewhere the whole batch.

    Example:
        >>> import torch
        >>> images_per_pass(torch.zeros(100, 1, 512, 512), batch_size=None) in (1, 4)
        True
        >>> images_per_pass(torch.zeros(100, 1, 512, 512), batch_size=7)
        7
    """
    if batch_size is not None:
        return batch_size
    if images.device.type != "cpu":
        return max(len(images), 1)
    budget = CPU_PIXELS_REUSED if memory_is_reused() else CPU_PIXELS
    return max(1, budget // max(images[0].numel() // images.shape[1], 1)) if len(images) else 1


def copies_per_pass(images: Tensor, batch_size: int | None) -> int:
    """Copies of images, each changed in another way, in one pass: as many as images, but never all at once.

    Example:
        >>> import torch
        >>> copies_per_pass(torch.empty(100, 1, 256, 256, device="meta"), batch_size=None)  # any device that is no CPU
        64
    """
    if batch_size is None and images.device.type != "cpu":
        return max(1, ACCELERATOR_PIXELS // images[0, 0].numel())
    return images_per_pass(images, batch_size)


def check_images(images: object, model: nn.Module) -> None:
    """Check a batch before any work: floating-point images ``(B, C, *spatial)``, where the model is.

    Raises:
        ValueError: anything else.

    Example:
        >>> import torch
        >>> check_images(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.nn.Flatten())
        Traceback (most recent call last):
        ValueError: expected floating-point images, scaled as in training, found torch.uint8; ...
    """
    if not isinstance(images, Tensor):
        raise ValueError(
            f"expected images as a tensor (B, C, H, W) or (B, C, X, Y, Z), found {type(images).__name__}; "
            "for NumPy, pass torch.from_numpy(images) with the channels on axis 1"
        )
    if images.ndim not in (4, 5):
        raise ValueError(
            f"expected images (B, C, H, W) or (B, C, X, Y, Z), found shape {tuple(images.shape)}; "
            "give a single image a batch dimension: images[None]"
        )
    if not images.is_floating_point():
        raise ValueError(
            f"expected floating-point images, scaled as in training, found {images.dtype}; "
            "for values in 0..255 this is usually images.float() / 255"
        )
    devices = {parameter.device for parameter in model.parameters()}
    if devices and "meta" not in {device.type for device in devices} and images.device not in devices:
        raise ValueError(
            f"expected images on the device of the model, {', '.join(sorted(map(str, devices)))}, found "
            f"{images.device}; move them with images.to(device)"
        )


def prepare_images(images: Tensor, model: nn.Module, *, channels_last: bool) -> Tensor:
    """Plain tensor that autograd can use, of the type of the model's parameters, channels last where that is faster.

    Example:
        >>> import torch
        >>> images = torch.zeros(2, 1, 8, 8, dtype=torch.float64)
        >>> prepared = prepare_images(images, torch.nn.Conv2d(1, 1, 3), channels_last=True)
        >>> prepared.dtype, prepared.stride()
        (torch.float32, (64, 1, 8, 1))
    """
    images = images.as_subclass(Tensor)
    if images.is_inference():
        images = images.clone()  # autograd cannot save a tensor made in inference mode
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    images = images if parameter is None else images.to(parameter.dtype)
    if channels_last and images.ndim == 4 and len(images):
        images = images.contiguous(memory_format=torch.channels_last)
        if images.shape[1] == 1:  # of one channel, the strides alone tell which format is meant
            height, width = images.shape[2:]
            images = images.contiguous().as_strided(images.shape, (height * width, 1, width, 1))
    return images


def uncompiled(model: nn.Module) -> nn.Module:
    """The model under ``torch.compile(model)``, whose layers have the names that its author gave them."""
    original = getattr(model, "_orig_mod", model)
    return original if isinstance(original, nn.Module) else model


def is_compiled(model: object) -> bool:
    """Whether a module was compiled, by ``torch.compile(module)`` or ``module.compile()``."""
    return hasattr(model, "_orig_mod") or getattr(model, "_compiled_call_impl", None) is not None


@contextmanager
def eager(model: nn.Module) -> Iterator[None]:
    """Run the model uncompiled: hooks see nothing of a compiled layer."""
    if any(is_compiled(module) for module in model.modules()):
        with torch.compiler.set_stance("force_eager"):
            yield
    else:
        yield


@contextmanager
def fresh_autocast_cache() -> Iterator[None]:
    """Keep weights that are cast without gradients out of the caller's autocast region, which would train on them."""
    try:
        torch.clear_autocast_cache()
        yield
    finally:
        torch.clear_autocast_cache()
