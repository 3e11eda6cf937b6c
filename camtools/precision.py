"""Whether a device computes bfloat16 in hardware: the one place that decides, and everything else asks it."""

from __future__ import annotations

import logging
import platform

import torch

__all__ = ["computes_in", "mixed_precision", "usable_dtype"]

logger = logging.getLogger("camtools")

_said: set[str] = set()


def computes_in(dtype: torch.dtype, device: torch.device | str) -> bool:
    """Whether the processor or GPU has instructions for arithmetic in a half-precision type.

    - bfloat16 on x86 processors: AVX512-BF16 or AMX. AVX-512 alone is not enough, although torch's own call accepts it.
    - bfloat16 on ARM processors: what torch finds.
    - float16 on processors: what torch finds (AVX512-FP16).
    - bfloat16 on GPUs of NVIDIA: compute capability 8.0 or higher. float16: every CUDA device.
    - Other devices: neither.

    Without the instructions, torch converts the numbers at every step and does not warn. On a processor, a network then
    takes 6 to 15 times as long as in float32.

    Args:
        dtype: ``torch.bfloat16`` or ``torch.float16``. Any other type is always computed.
        device: where the network runs.

    Example:
        >>> computes_in(torch.float32, "cpu"), computes_in(torch.bfloat16, "cpu") in (True, False)
        (True, True)
    """
    device = torch.device(device)
    if dtype not in (torch.bfloat16, torch.float16):
        return True
    if device.type == "cuda":
        return dtype == torch.float16 or _gpu_computes_bfloat16(device)
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.float16:
        return bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())
    return _cpu_computes_bfloat16()


def _cpu_computes_bfloat16() -> bool:
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    # On x86, the call above is also true for AVX-512 without bfloat16.
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _gpu_computes_bfloat16(device: torch.device) -> bool:
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def usable_dtype(wanted: torch.dtype, device: torch.device | str) -> torch.dtype | None:
    """Type for ``torch.autocast``: the wanted one, or None (float32) where the device does not compute in it.

    The first time that a wish is not followed, a warning by the logger ``camtools`` names the type and the processor.

    Args:
        wanted: ``torch.bfloat16`` or ``torch.float16``.
        device: where the network runs.

    Example:
        >>> usable_dtype(torch.bfloat16, "cpu") in (torch.bfloat16, None)
        True
    """
    if computes_in(wanted, device):
        return wanted
    name = str(wanted).removeprefix("torch.")
    message = (
        f"{name} was asked for, but {_processor(torch.device(device))} has no instructions for it and would be "
        "several times slower. Computing in float32 instead."
    )
    if message not in _said:
        _said.add(message)
        logger.warning(message)
    return None


def _processor(device: torch.device) -> str:
    if device.type == "cuda":
        return f"the GPU {torch.cuda.get_device_name(device)}"
    if device.type == "cpu":
        return f"this processor ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"
    return f"the device {device}"


def mixed_precision(device: torch.device, enabled: bool) -> torch.autocast:
    """Autocast to bfloat16 where the device computes in it (:func:`usable_dtype`), float32 elsewhere.

    bfloat16 has the range of float32: the gradients of activation maps, which are small and not scaled, could fall
    below the range of float16.

    Example:
        >>> with mixed_precision(torch.device("cpu"), enabled=computes_in(torch.bfloat16, "cpu")):
        ...     torch.ones(2, 2).mm(torch.ones(2, 2)).dtype in (torch.bfloat16, torch.float32)
        True
    """
    used = enabled and usable_dtype(torch.bfloat16, device) is not None
    return torch.autocast(device.type, torch.bfloat16, enabled=used)
