"""Mean-field inference of the dense CRF in torch, all slices at once, on any device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from camtools.crf.features import appearance_features, position_features
from camtools.crf.lattice import PermutohedralLattice

if TYPE_CHECKING:
    from camtools.crf.inference import DenseCRF

# A pixel takes 200 to 400 bytes on its way. Few slices at a time stay in the cache of a CPU; a GPU wants many.
_CHUNK_PIXELS = {"cpu": 1 << 18}
_CHUNK_PIXELS_ELSEWHERE = 1 << 21


def solve(images: torch.Tensor, logits: torch.Tensor, crf: DenseCRF) -> torch.Tensor:
    """Foreground probability ``(B, H, W)`` for images ``(B, C, H, W)`` and unary logits ``(B, H, W)``, all float32."""
    height, width = logits.shape[1:]
    gaussian = PermutohedralLattice(position_features(height, width, crf.gaussian_sxy, logits.device))
    pixels = _CHUNK_PIXELS.get(logits.device.type, _CHUNK_PIXELS_ELSEWHERE)
    slices = max(1, pixels // (height * width))
    chunks = zip(images.split(slices), logits.flatten(1).split(slices), strict=True)
    return torch.cat([_mean_field(*chunk, gaussian, crf) for chunk in chunks]).reshape(logits.shape)


def _mean_field(
    images: torch.Tensor, unary: torch.Tensor, gaussian: PermutohedralLattice, crf: DenseCRF
) -> torch.Tensor:
    """Probabilities ``(B, H W)``.

    With two labels, the difference of the marginals is all there is to know: filters are linear, so the difference of
    the messages is the filtered difference of the marginals, and it is added to the log-odds as it is.
    """
    features = appearance_features(images, crf.bilateral_sxy, crf.bilateral_srgb)
    bilateral = PermutohedralLattice(features, groups=len(images))
    logits = unary
    for _ in range(crf.iterations):
        difference = torch.sigmoid(logits).mul_(2).sub_(1)
        logits = torch.add(unary, gaussian.filter(difference), alpha=crf.gaussian_compat)
        appearance = bilateral.filter(difference.reshape(1, -1)).reshape(unary.shape)
        logits.add_(appearance, alpha=crf.bilateral_compat)
    return torch.sigmoid(logits)
