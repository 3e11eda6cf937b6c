"""Cross-entropy with soft labels, and the joint supervision of UM-CAM and SPL."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["DualPseudoLabelLoss", "SoftCrossEntropyLoss"]


class SoftCrossEntropyLoss(nn.Module):
    r"""Cross-entropy between the softmax of logits and soft labels, averaged over pixels.

    .. math:: L_{CE}(P_p, P) = -\frac{1}{N} \sum_i \sum_k P^k(i) \log P_p^k(i), \qquad P_p = softmax(logits)

    Computed in at least float32, also under autocast.

    Example:
        >>> import torch
        >>> logits = torch.zeros(1, 2, 4, 4)
        >>> SoftCrossEntropyLoss()(logits, torch.full((1, 2, 4, 4), 0.5))  # log 2
        tensor(0.6931)
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            logits: ``(B, K, *spatial)``, any floating type.
            target: soft labels ``(B, K, *spatial)`` in [0, 1], summing to 1 over K.

        Returns:
            Scalar >= 0.

        Raises:
            ValueError: the shapes differ.
        """
        if logits.shape != target.shape or logits.ndim < 2:
            raise ValueError(
                f"expected logits and soft labels of the same shape (B, K, *spatial), found {tuple(logits.shape)} "
                f"and {tuple(target.shape)}; integer labels need one-hot encoding first"
            )
        dtype = torch.promote_types(logits.dtype, torch.float32)
        return F.cross_entropy(logits.to(dtype), target.to(dtype))


class DualPseudoLabelLoss(nn.Module):
    r"""Joint supervision of a two-class segmenter by UM-CAM and by its seed-derived pseudo-label (SPL).

    .. math:: L_{seg} = \lambda L_{CE}(P_p, P_{UM}) + (1 - \lambda) L_{CE}(P_p, P_{SPL})

    with :class:`SoftCrossEntropyLoss` as :math:`L_{CE}`. It is linear in the labels, so both terms are one
    cross-entropy with :math:`\lambda P_{UM} + (1 - \lambda) P_{SPL}`. ``lam=1`` is supervision by UM-CAM alone,
    ``lam=0`` by SPL alone.

    Source: UM-CAM (Fu et al., 2023), eq. 8.

    Args:
        lam: :math:`\lambda` in [0, 1], the weight of UM-CAM.

    Raises:
        ValueError: ``lam`` outside [0, 1].

    Example:
        >>> import torch
        >>> target = torch.stack([torch.full((1, 4, 4), 0.9), torch.full((1, 4, 4), 0.2)], dim=1)  # UM-CAM, SPL
        >>> DualPseudoLabelLoss(lam=0.1)(torch.zeros(1, 2, 4, 4), target)
        tensor(0.6931)
    """

    def __init__(self, lam: float = 0.1) -> None:
        super().__init__()
        if not 0 <= lam <= 1:
            raise ValueError(f"expected lam (the weight of UM-CAM) in [0, 1], found {lam}")
        self.lam = lam
        self.cross_entropy = SoftCrossEntropyLoss()

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            logits: ``(B, 2, *spatial)``, background then foreground, any floating type.
            target: ``(B, 2, *spatial)`` foreground probabilities in [0, 1]: channel 0 of UM-CAM, channel 1 of SPL
                (the foreground channel of ``seed_pseudo_label``).

        Returns:
            Scalar >= 0.

        Raises:
            ValueError: either does not have two channels, or the shapes differ.
        """
        if logits.shape != target.shape or logits.ndim < 2 or logits.shape[1] != 2:
            raise ValueError(
                "expected logits (background, foreground) and target (foreground of UM-CAM, foreground of SPL), both "
                f"(B, 2, *spatial), found {tuple(logits.shape)} and {tuple(target.shape)}"
            )
        um_cam, spl = target.to(torch.promote_types(target.dtype, torch.float32)).unbind(dim=1)
        foreground = torch.lerp(spl, um_cam, self.lam)
        loss: Tensor = self.cross_entropy(logits, torch.stack((1 - foreground, foreground), dim=1))
        return loss
