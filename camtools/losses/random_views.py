"""Losses of two predictions of one image: Random-View Consensus."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camtools.losses.labels import class_shares

__all__ = ["EachViewLoss", "RandomViewConsensusLoss"]

Loss = Callable[[Tensor, Tensor], Tensor]


def _two_views(logits: Tensor) -> tuple[Tensor, Tensor]:
    if logits.ndim < 4 or logits.shape[1] != 2:
        raise ValueError(
            f"Expected logits of two views, (B, 2, K, *spatial), found {tuple(logits.shape)}. Use "
            "camtools.engine.RandomViewInferer as the inferer of the training."
        )
    first, second = logits.unbind(dim=1)
    return first, second


class RandomViewConsensusLoss(nn.Module):
    r"""Random-View Consensus: pixels on which two views disagree count less, and both views are asked to agree.

    With the class probabilities p and q of the two views (softmax), their mean m and the label y of a pixel,

    .. math::
        L = \frac{1}{N} \sum_i \Big( \tfrac{1}{2} (1 - (p_i - m_i)^2) CE(p_i, y_i)
            + \tfrac{1}{2} (1 - (q_i - m_i)^2) CE(q_i, y_i) \Big)
            + \lambda(t) \frac{1}{N'} \sum_i \tfrac{1}{2} \big( KL(p_i \| q_i) + KL(q_i \| p_i) \big)

    over the N pixels that are not ignored. The second sum is over all N' pixels, since it needs no label. Squares are
    of the foreground probability; for K classes, half the sum over the classes, which is the same for K = 2. The
    weights carry no gradient, so disagreeing never lowers the loss. :math:`\lambda(t) = \lambda e^{-5 (1 - t)^2}` grows
    with t = epoch / ``ramp_epochs`` until t = 1. Computed in at least float32, also under autocast.

    Source: UM-CAM, journal version (Fu et al., Pattern Recognition 160, 2025); the ramp is that of Laine and Aila,
    Temporal Ensembling, ICLR 2017, section 2.3.

    Args:
        consistency: :math:`\lambda` >= 0, the weight of the Kullback-Leibler term.
        ramp_epochs: epochs over which the weight grows, counted from 1; 0: full weight from the start.
        ignore_index: integer label of pixels without a label.

    Raises:
        ValueError: a negative argument.

    Example:
        >>> loss = RandomViewConsensusLoss(ramp_epochs=0)
        >>> loss(torch.zeros(1, 2, 2, 4, 4), torch.zeros(1, 1, 4, 4, dtype=torch.long))  # log 2
        tensor(0.6931)
    """

    def __init__(self, consistency: float = 1.0, ramp_epochs: int = 10, ignore_index: int = 255) -> None:
        super().__init__()
        if not consistency >= 0 or not ramp_epochs >= 0:
            raise ValueError(
                f"Expected consistency and ramp_epochs of at least 0, found {consistency} and {ramp_epochs}. Correct "
                "them."
            )
        self.consistency = consistency
        self.ramp_epochs = ramp_epochs
        self.ignore_index = ignore_index
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Tell the epoch, counted from 1. :class:`camtools.engine.NetworkTrainer` does it before each one."""
        self.epoch = epoch

    @property
    def weight(self) -> float:
        """Weight of the Kullback-Leibler term in this epoch."""
        if self.ramp_epochs == 0:
            return self.consistency
        share = min(self.epoch / self.ramp_epochs, 1.0)
        return self.consistency * math.exp(-5 * (1 - share) ** 2)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            logits: ``(B, 2, K, *spatial)``, of the two views, on the pixels of the image; or ``(B, 2, 2, K, *spatial)``
                of a network with an auxiliary head (:class:`camtools.networks.PSPNet`), whose logits are left out.
            labels: integer classes ``(B, 1, *spatial)`` or soft labels ``(B, K, *spatial)``.

        Returns:
            Scalar >= 0.

        Raises:
            ValueError: logits of another shape, or labels that do not match them.
        """
        first, second = _two_views(logits)
        if first.ndim == labels.ndim + 1:
            first, second = first[:, 0], second[:, 0]
        shares, counts = class_shares(first, labels, self.ignore_index)
        log_p = F.log_softmax(first.to(shares.dtype), dim=1)
        log_q = F.log_softmax(second.to(shares.dtype), dim=1)
        with torch.no_grad():
            # p - m = (p - q) / 2 = -(q - m), so both views have the same weights
            half = (log_p.exp() - log_q.exp()) / 2
            weights = 1 - (half**2).sum(dim=1) / 2
        entropy = -(shares * (log_p + log_q)).sum(dim=1) / 2
        supervised = (weights * entropy).sum() / counts.sum().clamp(min=1)
        divergence = ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=1).mean() / 2
        return supervised + self.weight * divergence


class EachViewLoss(nn.Module):
    r"""Mean of a loss over two views, to add any loss to Random-View Consensus.

    .. math:: L = \tfrac{1}{2} (L_{loss}(p, y) + L_{loss}(q, y))

    Args:
        loss: from logits ``(B, K, *spatial)`` and labels to a scalar.

    Example:
        >>> from camtools.losses import OEEMLoss
        >>> labels = torch.zeros(1, 1, 4, 4, dtype=torch.long)
        >>> EachViewLoss(OEEMLoss())(torch.zeros(1, 2, 2, 4, 4), labels)
        tensor(0.6931)
    """

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Compute the mean.

        Args:
            logits: ``(B, 2, K, *spatial)``, of the two views.
            labels: as the loss takes them.

        Raises:
            ValueError: logits of another shape.
        """
        first, second = _two_views(logits)
        return (self.loss(first, labels) + self.loss(second, labels)) / 2
