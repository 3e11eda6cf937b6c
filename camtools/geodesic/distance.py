"""Geodesic distance from seed pixels, on whatever hardware the images are."""

from __future__ import annotations

import importlib.util
from typing import Literal, get_args

import torch

Backend = Literal["auto", "fastgeodis", "numba", "triton", "torch"]

_INSTALL = {
    "numba": "install it with `pip install numba`, or choose backend='torch'",
    "triton": "install a CUDA build of torch, which brings triton, or choose backend='torch'",
    "fastgeodis": (
        "it is source-only and compiles against torch: in an environment that has torch, run "
        "`pip install 'setuptools<81' wheel ninja` and then `pip install --no-build-isolation FastGeodis==1.0.5`, "
        "or choose backend='numba'"
    ),
}


def geodesic_distance(
    images: torch.Tensor,
    seed_mask: torch.Tensor,
    *,
    passes: int | None = None,
    backend: Backend = "auto",
) -> torch.Tensor:
    r"""Geodesic distance of every pixel to the nearest seed of its slice.

    .. math:: D(i) = \min_{j \in S} \; \min_{p \in P_{i,j}} \int_0^1 \| \nabla I(p(n)) \cdot u(n) \| \, dn

    The path runs over the 8-neighbourhood, and a step between neighbours :math:`a` and :math:`b` costs
    :math:`\sum_c |I_c(a) - I_c(b)|`: the distance counts changes of intensity only, never length, so pixel spacing does
    not enter and it has the unit of the intensities.

    Raster passes lower the distances until they settle. One pass is four sweeps: down, up, right, left; a sweep relaxes
    each pixel from the three neighbours behind it. ``passes=None`` sweeps until nothing changes, which gives the
    exact distance; a brain slice of 256 x 256 pixels takes 10 to 25 passes. With an equal number of passes the result
    equals FastGeodis' ``generalised_geodesic2d`` at ``lamb=1``.

    Args:
        images: slices, ``(B, C, H, W)``, finite; computed in float32.
        seed_mask: boolean, ``(B, 1, H, W)``, True at seeds; every slice has at least one. On the device of ``images``.
        passes: number of passes, at least 1, or None for the exact distance.
        backend: ``"auto"`` takes numba on the CPU; triton on CUDA where it can be imported; torch elsewhere.
            ``"numba"`` and ``"fastgeodis"`` also take CUDA tensors (the former through the host).

    Returns:
        Distances ``(B, 1, H, W)``, float32, >= 0, 0 at seeds, without gradient.

    Raises:
        TypeError: ``seed_mask`` is not boolean.
        ValueError: wrong shapes or devices, non-finite voxels, a slice without a seed, ``passes`` below 1, an unknown
            backend, or triton on tensors that are not on a CUDA device.
        ImportError: the chosen backend is not installed.

    Source:
        Fu et al., "UM-CAM", MICCAI 2023, eq. 6-7; raster passes: Criminisi et al., "GeoS", ECCV 2008.

    Example:
        >>> image = torch.tensor([[[[0.0, 1.0, 3.0]]]])
        >>> seed = torch.tensor([[[[True, False, False]]]])
        >>> geodesic_distance(image, seed)
        tensor([[[[0., 1., 3.]]]])
    """
    check_images(images)
    _check_seeds(seed_mask, images)
    check_passes(passes)
    return unchecked_distance(images, seed_mask, passes, resolve_backend(backend, images.device))


def unchecked_distance(
    images: torch.Tensor, seed_mask: torch.Tensor, passes: int | None, backend: Backend
) -> torch.Tensor:
    """Dispatch of :func:`geodesic_distance` for arguments that were checked, with a backend other than ``"auto"``."""
    pixels = images.detach().to(torch.float32).contiguous()
    seeds = seed_mask[:, 0].contiguous()
    if backend == "numba":
        from camtools.geodesic import numba_sweep

        distance = numba_sweep.solve(pixels, seeds, passes)
    elif backend == "fastgeodis":
        from camtools.geodesic import fastgeodis_sweep

        distance = fastgeodis_sweep.solve(pixels, seeds, passes)
    else:
        from camtools.geodesic import torch_sweep

        distance = torch_sweep.solve(pixels, seeds, passes, torch_sweep.load_sweep(backend))
    return distance[:, None]


def resolve_backend(backend: Backend, device: torch.device) -> Backend:
    """Backend to use on a device; raises what :func:`geodesic_distance` lists where it cannot be used."""
    if backend not in get_args(Backend):
        raise ValueError(f"expected backend to be one of {', '.join(get_args(Backend))}, found {backend!r}")
    if backend == "auto":
        preferred = {"cpu": "numba", "cuda": "triton"}.get(device.type, "torch")
        return preferred if _installed(preferred) else "torch"  # type: ignore[return-value]
    if not _installed(backend):
        raise ImportError(f"backend {backend!r} is not installed; {_INSTALL[backend]}")
    if backend == "triton" and device.type != "cuda":
        raise ValueError(f"expected CUDA tensors for backend 'triton', found {device}; move them or choose 'numba'")
    return backend


def check_images(images: torch.Tensor) -> None:
    """Refuse anything but finite ``(B, C, H, W)`` slices."""
    if images.ndim != 4 or images.shape[1] == 0:
        raise ValueError(f"expected images of shape (B, C, H, W), found {tuple(images.shape)}")
    # One bad voxel shows in the sum, which is far cheaper than a test of each; a sum may overflow, so look closer then.
    if torch.isfinite(images.sum()):
        return
    finite = torch.isfinite(images).flatten(1).all(1)
    if not finite.all():
        wrong = torch.nonzero(~finite)[:, 0].tolist()
        raise ValueError(f"expected finite images, found NaN or infinity at batch index {wrong}; replace them")


def _check_seeds(seed_mask: torch.Tensor, images: torch.Tensor) -> None:
    expected = (images.shape[0], 1, *images.shape[2:])
    if seed_mask.dtype != torch.bool:
        raise TypeError(f"expected a boolean seed_mask, found {seed_mask.dtype}; pass `seed_mask > 0`")
    if seed_mask.shape != expected:
        raise ValueError(f"expected seed_mask of shape {expected} to match images, found {tuple(seed_mask.shape)}")
    if seed_mask.device != images.device:
        raise ValueError(f"expected seed_mask on {images.device} like images, found {seed_mask.device}; move one")
    seeded = seed_mask.flatten(1).any(1)
    if not seeded.all():
        empty = torch.nonzero(~seeded)[:, 0].tolist()
        raise ValueError(f"expected at least one seed in each slice, found none at batch index {empty}; leave them out")


def check_passes(passes: int | None) -> None:
    """Refuse anything but None and integers from 1."""
    if passes is not None and (not isinstance(passes, int) or passes < 1):
        raise ValueError(f"expected passes to be an integer >= 1, or None for the exact distance, found {passes!r}")


def _installed(backend: str) -> bool:
    module = "FastGeodis" if backend == "fastgeodis" else backend
    return importlib.util.find_spec(module) is not None
