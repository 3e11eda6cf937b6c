"""Dense CRF inference, on whatever hardware the probabilities are."""

from __future__ import annotations

import importlib.util
from typing import Literal, get_args

import torch

from camtools.crf.features import Kernels

Backend = Literal["auto", "pydensecrf", "torch"]

_SMALLEST_PROBABILITY = 1e-5


def dense_crf(
    images: torch.Tensor,
    probability: torch.Tensor,
    *,
    gaussian_sxy: float = 3,
    gaussian_compat: float = 3,
    bilateral_sxy: float = 10,
    bilateral_srgb: float = 13,
    bilateral_compat: float = 10,
    iterations: int = 10,
    backend: Backend = "auto",
) -> torch.Tensor:
    r"""Refine foreground probabilities so that they agree with the images, by a fully connected CRF.

    Mean-field inference for two labels :math:`l` with the Potts model: starting from the unary term alone,

    .. math:: Q_i(l) \propto \exp\Bigl( \log p_i(l) + \sum_m w_m \sum_j \frac{k_m(i, j)}{\sqrt{n_{m,i} n_{m,j}}} Q_j(l)
        \Bigr), \quad n_{m,i} = \sum_j k_m(i, j)

    over all pixels :math:`j`, with positions :math:`x` in pixels and colours :math:`I` in grey levels (0 to 255):

    .. math:: k_1 = \exp\Bigl( -\frac{\|x_i - x_j\|^2}{2 s_{xy}^2} \Bigr), \quad
        k_2 = \exp\Bigl( -\frac{\|x_i - x_j\|^2}{2 s_{xy}^2} - \frac{\|I_i - I_j\|^2}{2 s_{rgb}^2} \Bigr)

    Both backends filter on the permutohedral lattice, as the inventors of the method do, so their labels agree at all
    but single pixels. A slice of one channel is taken for a grey image, with three equal channels, at a lower cost.

    Args:
        images: slices, ``(B, 1, H, W)`` or RGB ``(B, 3, H, W)``, floating point, finite, in [0, 1]; values outside are
            clamped, so scale the slices first. They follow ``probability`` to its device.
        probability: probability of the foreground, ``(B, 1, H, W)``, in [0, 1]; at least 1e-5 for either label enters.
        gaussian_sxy: standard deviation of the smoothness kernel, in pixels, > 0.
        gaussian_compat: weight of the smoothness kernel, >= 0.
        bilateral_sxy: standard deviation of the appearance kernel in space, in pixels, > 0.
        bilateral_srgb: standard deviation of the appearance kernel in colour, in grey levels of 0 to 255, > 0.
        bilateral_compat: weight of the appearance kernel, >= 0.
        iterations: mean-field iterations, at least 1.
        backend: ``"auto"`` takes torch for CUDA tensors and pydensecrf elsewhere. ``"pydensecrf"`` works on the CPU, on
            all cores when there are several slices; ``"torch"`` on any device, many slices at once. On CUDA, torch sums
            in no fixed order, so the last digits may differ from run to run.

    Returns:
        Marginals ``(B, 2, H, W)``, float32: background, then foreground; they sum to 1. On the device of
        ``probability``, without gradient.

    Raises:
        ValueError: wrong shapes, integer images, values that are not finite, probabilities outside [0, 1], parameters
            out of range, or an unknown backend.
        ImportError: pydensecrf is wanted and not installed.
        RuntimeError: a worker process of pydensecrf failed.

    Source:
        Kraehenbuehl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", NIPS 2011;
        the widths and weights are those of the code of Chen et al., "Cfd-CAM".

    Example:
        >>> image = torch.zeros(1, 1, 12, 12)
        >>> image[..., 3:9, 3:9] = 1.0
        >>> probability = 0.2 + 0.6 * image
        >>> probability[..., 5, 5] = 0.1  # a hole in the object
        >>> (dense_crf(image, probability, backend="torch")[:, 1:] > 0.5).equal(image > 0.5)
        True
    """
    kernels = Kernels(gaussian_sxy, gaussian_compat, bilateral_sxy, bilateral_srgb, bilateral_compat)
    check_parameters(kernels, iterations)
    chosen = resolve_backend(backend, probability.device)
    check_slices(images, probability)
    if probability.numel() == 0:
        return probability.new_empty((len(probability), 2, *probability.shape[2:]), dtype=torch.float32)
    pixels = images.detach().to(probability.device, torch.float32).clamp(0, 1)
    foreground = probability.detach()[:, 0].to(torch.float32)
    logits = _log(foreground) - _log(1 - foreground)
    if chosen == "torch":
        from camtools.crf.torch_backend import solve
    else:
        from camtools.crf.pydensecrf_backend import solve
    refined = solve(pixels, logits, kernels, iterations)
    return torch.stack([1 - refined, refined], dim=1)


def resolve_backend(backend: Backend, device: torch.device) -> Backend:
    """Backend to use on a device; raises what :func:`dense_crf` lists where there is none."""
    if backend not in get_args(Backend):
        raise ValueError(f"expected backend to be one of {', '.join(get_args(Backend))}, got {backend!r}")
    if backend == "torch" or (backend == "auto" and device.type == "cuda"):
        return "torch"
    if importlib.util.find_spec("pydensecrf") is None:
        raise ImportError(
            'the dense CRF needs pydensecrf, which is not installed; install it with `pip install "camtools[crf]"`, '
            'or choose backend="torch"'
        )
    return "pydensecrf"


def check_parameters(kernels: Kernels, iterations: int) -> None:
    """Refuse widths that are not above 0, weights below 0 and anything but a positive number of iterations."""
    for name, value in vars(kernels).items():
        compat = name.endswith("compat")
        if not 0 <= value < float("inf") or (value == 0 and not compat):
            raise ValueError(f"expected {name} to be finite and {'>= 0' if compat else '> 0'}, got {value}")
    if not isinstance(iterations, int) or iterations < 1:
        raise ValueError(f"expected iterations to be an integer >= 1, got {iterations!r}")


def check_slices(images: torch.Tensor, probability: torch.Tensor) -> None:
    """Refuse anything but finite floating-point slices of one or three channels and probabilities that match them."""
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(
            f"expected images of shape (B, 1, H, W) or (B, 3, H, W), got {tuple(images.shape)}; "
            "choose the channels that show the borders of the object"
        )
    if not images.is_floating_point():
        raise ValueError(f"expected floating-point images in [0, 1], got {images.dtype}; divide grey levels by 255")
    expected = (len(images), 1, *images.shape[2:])
    if probability.shape != expected:
        raise ValueError(f"expected probability of shape {expected} to match images, got {tuple(probability.shape)}")
    finite = torch.isfinite(images).flatten(1).all(1)
    if not finite.all():
        wrong = torch.nonzero(~finite)[:, 0].tolist()
        raise ValueError(f"expected finite voxels in images, found NaN or infinity at batch index {wrong}; mend them")
    inside = ((probability >= 0) & (probability <= 1)).flatten(1).all(1)
    if not inside.all():
        wrong = torch.nonzero(~inside)[:, 0].tolist()
        raise ValueError(
            f"expected probability in [0, 1], found other values at batch index {wrong}; "
            "scale the maps first, for example with camtools.fusion.normalize_min_max"
        )


def _log(probability: torch.Tensor) -> torch.Tensor:
    return probability.clamp(min=_SMALLEST_PROBABILITY).log()
