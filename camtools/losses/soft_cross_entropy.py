"""Cross-entropy with soft labels, and the joint supervision of UM-CAM and SPL."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["DualPseudoLabelLoss", "SoftCrossEntropyLoss"]

Loss = Callable[[Tensor, Tensor], Tensor]


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

    A target of one channel is the only label, such as the pseudo-mask of a baseline of table 1; ``lam`` has then no
    effect.

    Source: UM-CAM (Fu et al., 2023), eq. 8.

    Args:
        lam: :math:`\lambda` in [0, 1], the weight of UM-CAM.
        loss: loss of the logits and of the soft labels ``(B, 2, *spatial)`` that combine both, such as
            :class:`camtools.losses.SumLoss`; None: cross-entropy.

    Raises:
        ValueError: ``lam`` outside [0, 1].

    Example:
        >>> import torch
        >>> target = torch.stack([torch.full((1, 4, 4), 0.9), torch.full((1, 4, 4), 0.2)], dim=1)  # UM-CAM, SPL
        >>> DualPseudoLabelLoss(lam=0.1)(torch.zeros(1, 2, 4, 4), target)
        tensor(0.6931)
    """

    def __init__(self, lam: float = 0.1, loss: Loss | None = None) -> None:
        super().__init__()
        if not 0 <= lam <= 1:
            raise ValueError(f"expected lam (the weight of UM-CAM) in [0, 1], found {lam}")
        self.lam = lam
        self.loss = SoftCrossEntropyLoss() if loss is None else loss

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            logits: ``(B, 2, *spatial)``, background then foreground, any floating type; or those of two views,
                ``(B, 2, 2, *spatial)``, for a ``loss`` that takes them.
            target: ``(B, 2, *spatial)`` foreground probabilities in [0, 1]: channel 0 of UM-CAM, channel 1 of SPL
                (the foreground channel of ``seed_pseudo_label``). Or ``(B, 1, *spatial)``: one label alone.

        Returns:
            Scalar >= 0.

        Raises:
            ValueError: the logits do not have two channels, the target has more than two, or the sizes differ.
        """
        self._check(logits, target)
        labels = target.to(torch.promote_types(target.dtype, torch.float32))
        foreground = labels[:, 0]
        if labels.shape[1] == 2:
            foreground = torch.lerp(labels[:, 1], foreground, self.lam)
        return self.loss(logits, torch.stack((1 - foreground, foreground), dim=1))

    def _check(self, logits: Tensor, target: Tensor) -> None:
        view = logits[:, 0] if logits.ndim == target.ndim + 1 else logits
        sizes = {(len(view), *view.shape[2:]), (len(target), *target.shape[2:])}
        shaped = min(view.ndim, target.ndim) >= 2 and view.shape[1] == 2 and target.shape[1] in (1, 2)
        if not shaped or len(sizes) > 1:
            raise ValueError(
                "expected logits (background, foreground) and target (foreground of UM-CAM, foreground of SPL), both "
                "(B, 2, *spatial), or as target one label (B, 1, *spatial), "
                f"found {tuple(logits.shape)} and {tuple(target.shape)}"
            )
