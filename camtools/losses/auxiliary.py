"""The loss of a segmenter with an auxiliary head."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

__all__ = ["AuxiliaryLoss"]

Loss = Callable[[Tensor, Tensor], Tensor]


class AuxiliaryLoss(nn.Module):
    r"""Loss of the logits, plus a share of the loss of the auxiliary head's logits.

    .. math:: L = L_{main} + \lambda L_{auxiliary}

    Source: Zhao et al., Pyramid Scene Parsing Network, CVPR 2017, section 3.3 (:math:`\lambda = 0.4`).

    Args:
        loss: from logits ``(B, K, *spatial)`` and labels to a scalar.
        weight: :math:`\lambda` >= 0.
        auxiliary: loss of the auxiliary head's logits; None: the same.

    Raises:
        ValueError: a negative weight.

    Example:
        >>> import torch
        >>> from camtools.losses import OEEMLoss
        >>> logits, labels = torch.zeros(3, 2, 5, 8, 8), torch.zeros(3, 1, 8, 8, dtype=torch.long)
        >>> AuxiliaryLoss(OEEMLoss())(logits, labels)  # 1.4 log 5
        tensor(2.2532)
    """

    def __init__(self, loss: Loss, weight: float = 0.4, auxiliary: Loss | None = None) -> None:
        super().__init__()
        if not weight >= 0:
            raise ValueError(f"expected a weight of the auxiliary loss of at least 0, found {weight}")
        self.loss = loss
        self.weight = weight
        self.auxiliary = loss if auxiliary is None else auxiliary

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            logits: ``(B, 2, K, *spatial)``, those of the head and of the auxiliary head, as
                :class:`camtools.networks.PSPNet` gives them in training; or ``(B, K, *spatial)``, the head's alone.
                The number of dimensions tells which.
            labels: ``(B, 1, *spatial)`` integer classes, or soft labels ``(B, K, *spatial)`` if the loss takes them.

        Returns:
            Scalar.

        Raises:
            ValueError: logits of neither shape.
        """
        if logits.ndim == labels.ndim:
            return self.loss(logits, labels)
        channel = labels.is_floating_point() or labels.shape[1:2] == (1,)
        stacked = logits.ndim == labels.ndim + 1 and logits.shape[1] == 2 and logits.shape[3:] == labels.shape[2:]
        if not (channel and stacked):
            raise ValueError(
                "expected labels (B, 1, *spatial) and logits (B, 2, K, *spatial) of a head and an auxiliary head, or "
                f"(B, K, *spatial), found {tuple(labels.shape)} and {tuple(logits.shape)}"
            )
        main, auxiliary = logits.unbind(dim=1)
        return self.loss(main, labels) + self.weight * self.auxiliary(auxiliary, labels)
