"""Mean-field inference of the dense CRF by pydensecrf, slice by slice, on all cores of a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from camtools.crf.features import Kernels
from camtools.crf.pydensecrf_pool import map_slices

if TYPE_CHECKING:
    from camtools.crf.pydensecrf_worker import Request


def solve(images: torch.Tensor, logits: torch.Tensor, kernels: Kernels, iterations: int) -> torch.Tensor:
    """Foreground probability ``(B, H, W)`` for images ``(B, C, H, W)`` and unary logits ``(B, H, W)``, all float32."""
    height, width = logits.shape[1:]
    host_images, host_logits = images.cpu(), logits.flatten(1).cpu().numpy()
    position = kernels.gaussian_features(height, width, host_images.device).numpy()

    def request(index: int) -> Request:
        appearance = kernels.bilateral_features(host_images[index : index + 1]).numpy()
        pairwise = [(position, kernels.gaussian_compat), (appearance, kernels.bilateral_compat)]
        return host_logits[index], pairwise, iterations

    marginals = np.stack(map_slices(request, len(images), height * width))
    return torch.from_numpy(marginals).reshape(logits.shape).to(logits.device)
