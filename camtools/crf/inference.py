"""Dense CRF inference, on whatever hardware the probabilities are."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import torch

Backend = Literal["auto", "pydensecrf", "torch"]

_SMALLEST_PROBABILITY = 1e-5
_TOLERANCE = 1e-3  # of the range of images, for the rounding of half precision


@dataclass(frozen=True)
class DenseCRF:
    r"""Refine activation maps so that they agree with the images, by a fully connected CRF.

    Mean-field inference for two labels :math:`l` with the Potts model: starting from the unary term alone,

    .. math:: Q_i(l) \propto \exp\Bigl( \log p_i(l) + \sum_m w_m \sum_j \frac{k_m(i, j)}{\sqrt{n_{m,i} n_{m,j}}} Q_j(l)
        \Bigr), \quad n_{m,i} = \sum_j k_m(i, j)

    over all pixels :math:`j`, with positions :math:`x` in pixels and colours :math:`I` in grey levels (0 to 255):

    .. math:: k_1 = \exp\Bigl( -\frac{\|x_i - x_j\|^2}{2 s_{xy}^2} \Bigr), \quad
        k_2 = \exp\Bigl( -\frac{\|x_i - x_j\|^2}{2 s_{xy}^2} - \frac{\|I_i - I_j\|^2}{2 s_{rgb}^2} \Bigr)

    Both backends filter on the permutohedral lattice, as the inventors of the method do, so their labels agree
    except at single pixels. :math:`\|I_i - I_j\|^2` is the sum over three channels. With any other number it is the
    mean over the channels, times three: a slice of one channel is treated as a grey image with three equal channels, at
    a lower cost, and all channels of a slice of four count alike.

    A slice whose map has (max + min) / 2 below ``empty_below`` is pure background: the object is not there, and the CRF
    would only sharpen noise. This is the authors' rule. It needs maps with a meaningful scale, such as maps scaled
    by the confidence of the classifier.

    Args:
        gaussian_sxy: standard deviation of the smoothness kernel, in pixels, > 0.
        gaussian_compat: weight of the smoothness kernel, >= 0.
        bilateral_sxy: standard deviation of the appearance kernel in space, in pixels, > 0.
        bilateral_srgb: standard deviation of the appearance kernel in colour, in grey levels of 0 to 255, > 0.
        bilateral_compat: weight of the appearance kernel, >= 0.
        iterations: mean-field iterations, at least 1.
        backend: ``"torch"`` works on any device, many slices at once; ``"auto"`` takes it. ``"pydensecrf"``, the
            library that the authors used, works on one core of the CPU. On CUDA, torch sums in no fixed order, so the
            last digits may differ from run to run.
        empty_below: middle of the range of the map below which a slice is empty; None: every slice is refined.

    Raises:
        ValueError: a parameter is out of range.
        ImportError: ``backend="pydensecrf"`` and pydensecrf is not installed.

    Source:
        Kraehenbuehl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", NIPS 2011.
        Widths, weights and ``empty_below`` are from the code of Chen et al., "Cfd-CAM", step 6.

    Example:
        >>> images, maps = torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)
        >>> images[:, :, 2:6, 2:6] = 1.0
        >>> maps[0, :, 2:6, 2:6] = 0.9
        >>> maps[1, :, 2:6, 2:6] = 0.1
        >>> (DenseCRF()(images, maps)[:, 1] > 0.5).sum((1, 2))
        tensor([16,  0])
    """

    gaussian_sxy: float = 3
    gaussian_compat: float = 3
    bilateral_sxy: float = 10
    bilateral_srgb: float = 13
    bilateral_compat: float = 10
    iterations: int = 10
    backend: Backend = "auto"
    empty_below: float | None = 0.1

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self) if field.name.endswith(("sxy", "srgb", "compat"))):
            _check_size(name, getattr(self, name), zero_allowed=name.endswith("compat"))
        if not isinstance(self.iterations, int) or self.iterations < 1:
            raise ValueError(f"expected iterations to be an integer >= 1, found {self.iterations!r}")
        if self.backend not in get_args(Backend):
            raise ValueError(f"expected backend to be one of {', '.join(get_args(Backend))}, found {self.backend!r}")
        if self.backend == "pydensecrf" and importlib.util.find_spec("pydensecrf") is None:
            raise ImportError(
                "backend='pydensecrf' needs pydensecrf, which is not installed; install it with "
                '`pip install "camtools[crf]"`, or choose backend="torch", which gives the same labels'
            )

    def __call__(self, images: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        """Marginals of slices and their maps.

        Args:
            images: slices, ``(B, C, H, W)``, floating point, finite, in [0, 1] within 1e-3. They are moved
                to the device of ``maps``.
            maps: probability of the foreground, ``(B, 1, H, W)``, in [0, 1]; at least 1e-5 for either label enters.

        Returns:
            ``(B, 2, H, W)``, float32: background, then foreground; they sum to 1. On the device of ``maps``, without
            gradient.

        Raises:
            ValueError: wrong shapes, integer images, values that are not finite, images or maps outside [0, 1].
        """
        check_slices(images, maps)
        marginals = torch.zeros((len(maps), 2, *maps.shape[2:]), device=maps.device)
        marginals[:, 0] = 1.0
        shown = self._shown(maps.detach())
        if shown.any():
            refined = self._foreground(images.detach()[shown.to(images.device)], maps.detach()[shown])
            marginals[shown] = torch.stack([1 - refined, refined], dim=1)
        return marginals

    def _shown(self, maps: torch.Tensor) -> torch.Tensor:
        if self.empty_below is None or maps.numel() == 0:
            return torch.full((len(maps),), maps.numel() > 0, device=maps.device)
        low, high = maps.flatten(1).aminmax(dim=1)
        return (low + high) / 2 >= self.empty_below

    def _foreground(self, images: torch.Tensor, probability: torch.Tensor) -> torch.Tensor:
        if self.backend == "pydensecrf":
            from camtools.crf.pydensecrf_backend import solve
        else:
            from camtools.crf.torch_backend import solve
        pixels = images.to(probability.device, torch.float32).clamp(0, 1)
        foreground = probability[:, 0].to(torch.float32)
        return solve(pixels, _log(foreground) - _log(1 - foreground), self)


def dense_crf(images: torch.Tensor, probability: torch.Tensor, **parameters: Any) -> torch.Tensor:
    """Refine foreground probabilities so that they agree with the images; every slice is refined.

    Args:
        images: slices, ``(B, C, H, W)``, see :class:`DenseCRF`.
        probability: probability of the foreground, ``(B, 1, H, W)``, in [0, 1].
        **parameters: parameters of :class:`DenseCRF`, which also lists what is returned and raised.

    Example:
        >>> image = torch.zeros(1, 1, 12, 12)
        >>> image[..., 3:9, 3:9] = 1.0
        >>> probability = 0.2 + 0.6 * image
        >>> probability[..., 5, 5] = 0.1  # a hole in the object
        >>> (dense_crf(image, probability)[:, 1:] > 0.5).equal(image > 0.5)
        True
    """
    return DenseCRF(**{"empty_below": None} | parameters)(images, probability)


def _check_size(name: str, value: float, zero_allowed: bool) -> None:
    if not 0 <= value < float("inf") or (value == 0 and not zero_allowed):
        raise ValueError(f"expected {name} to be finite and {'>= 0' if zero_allowed else '> 0'}, found {value}")


def check_slices(images: torch.Tensor, probability: torch.Tensor) -> None:
    """Refuse anything but finite floating-point slices and probabilities that match them."""
    if images.ndim != 4 or images.shape[1] == 0:
        raise ValueError(
            f"expected images of shape (B, C, H, W) with one or more channels, found {tuple(images.shape)}; give "
            "slices with their channels"
        )
    if not images.is_floating_point():
        raise ValueError(f"expected floating-point images in [0, 1], found {images.dtype}; divide grey levels by 255")
    expected = (len(images), 1, *images.shape[2:])
    if probability.shape != expected:
        raise ValueError(f"expected probability of shape {expected} to match images, found {tuple(probability.shape)}")
    finite = torch.isfinite(images).flatten(1).all(1)
    if not finite.all():
        wrong = torch.nonzero(~finite)[:, 0].tolist()
        raise ValueError(
            f"expected finite voxels in images, found NaN or infinity at batch index {wrong}; replace them"
        )
    unit = ((images >= -_TOLERANCE) & (images <= 1 + _TOLERANCE)).flatten(1).all(1)
    if not unit.all():
        wrong = torch.nonzero(~unit)[:, 0].tolist()
        raise ValueError(
            f"expected images in [0, 1], found values from {images.min():.4g} to {images.max():.4g} at batch index "
            f"{wrong}; scale the slices first, for example with the knob intensity: slice (a z-score is not in [0, 1])"
        )
    inside = ((probability >= 0) & (probability <= 1)).flatten(1).all(1)
    if not inside.all():
        wrong = torch.nonzero(~inside)[:, 0].tolist()
        raise ValueError(
            f"expected probability in [0, 1], found other values at batch index {wrong}; "
            "scale the maps first, for example with camtools.fusion.normalize_min_max"
        )


def _log(probability: torch.Tensor) -> torch.Tensor:
    return probability.clamp(min=_SMALLEST_PROBABILITY).log()
