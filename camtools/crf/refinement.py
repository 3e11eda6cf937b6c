"""Dense CRF as one configured step: activation maps in, refined marginals out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from camtools.crf.features import Kernels
from camtools.crf.inference import Backend, check_parameters, check_slices, dense_crf, resolve_backend


@dataclass(frozen=True)
class DenseCRF:
    """Refine activation maps by :func:`camtools.crf.dense_crf`; slices whose map is faint are left out as empty.

    A slice whose map has (max + min) / 2 below ``empty_below`` is pure background: the object is not there, and the CRF
    would only sharpen noise. This is the authors' rule; it needs maps whose height means something, such as those that
    are scaled by the confidence of the classifier.

    Args:
        gaussian_sxy: see :func:`camtools.crf.dense_crf`, as for the others up to ``backend``.
        gaussian_compat: weight of the smoothness kernel.
        bilateral_sxy: width of the appearance kernel in space, in pixels.
        bilateral_srgb: width of the appearance kernel in colour, in grey levels.
        bilateral_compat: weight of the appearance kernel.
        iterations: mean-field iterations.
        backend: ``"auto"``, ``"pydensecrf"`` or ``"torch"``.
        empty_below: middle of the range of the map below which a slice is empty; None: every slice is refined.

    Raises:
        ValueError: a parameter is out of range.
        ImportError: ``backend="pydensecrf"`` and pydensecrf is not installed; with ``"auto"`` only the call can tell.

    Source:
        Chen et al., "Cfd-CAM", step 6, and the authors' code.

    Example:
        >>> images, maps = torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)
        >>> images[:, :, 2:6, 2:6] = 1.0
        >>> maps[0, :, 2:6, 2:6] = 0.9
        >>> maps[1, :, 2:6, 2:6] = 0.1
        >>> (DenseCRF(backend="torch")(images, maps)[:, 1] > 0.5).sum((1, 2))
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
        parameters = self._parameters()
        iterations, backend = parameters.pop("iterations"), parameters.pop("backend")
        check_parameters(Kernels(**parameters), iterations)
        # On a GPU, "auto" needs nothing: whether pydensecrf is missed shows with the first maps.
        resolve_backend(backend, torch.device("cuda"))

    def __call__(self, images: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        """Marginals ``(B, 2, H, W)`` of slices ``(B, C, H, W)`` and their maps ``(B, 1, H, W)``, both in [0, 1]."""
        check_slices(images, maps)
        low, high = maps.flatten(1).aminmax(dim=1)
        shown = torch.ones_like(low, dtype=torch.bool)
        if self.empty_below is not None:
            shown = (low + high) / 2 >= self.empty_below
        marginals = torch.zeros((len(maps), 2, *maps.shape[2:]), device=maps.device)
        marginals[:, 0] = 1.0
        if shown.any():
            marginals[shown] = dense_crf(images[shown.to(images.device)], maps[shown], **self._parameters())
        return marginals

    def _parameters(self) -> dict[str, Any]:
        parameters = asdict(self)
        del parameters["empty_below"]
        return parameters
