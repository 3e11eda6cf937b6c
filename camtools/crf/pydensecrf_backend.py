"""Mean-field inference of the dense CRF by pydensecrf, slice by slice on one core."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from camtools.crf.features import appearance_features, position_features

if TYPE_CHECKING:
    from camtools.crf.inference import DenseCRF


def solve(images: torch.Tensor, logits: torch.Tensor, crf: DenseCRF) -> torch.Tensor:
    """Foreground probability ``(B, H, W)`` for images ``(B, C, H, W)`` and unary logits ``(B, H, W)``, all float32."""
    from pydensecrf.densecrf import DenseCRF as Model

    height, width = logits.shape[1:]
    position = position_features(height, width, crf.gaussian_sxy, torch.device("cpu")).numpy()
    marginals = []
    for image, unary in zip(images.cpu().split(1), logits.flatten(1).cpu().numpy(), strict=True):
        model = Model(height * width, 2)
        model.setUnaryEnergy(np.stack([unary, -unary]) / 2)
        appearance = appearance_features(image, crf.bilateral_sxy, crf.bilateral_srgb).numpy()
        model.addPairwiseEnergy(position, compat=crf.gaussian_compat)
        model.addPairwiseEnergy(np.ascontiguousarray(appearance), compat=crf.bilateral_compat)
        marginals.append(np.array(model.inference(crf.iterations))[1])
    return torch.from_numpy(np.stack(marginals)).reshape(logits.shape).to(logits.device)
