"""A weighted sum of losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

__all__ = ["SumLoss"]

Loss = Callable[[Tensor, Tensor], Tensor]


class SumLoss(nn.Module):
    r"""Weighted sum of losses of the same logits and labels.

    .. math:: L = \sum_i w_i L_i

    In YAML, ``terms`` is a list of pairs, each on one line: ``- [{_target_: camtools.losses.OEEMLoss}, 1.0]``.

    Args:
        terms: pairs of a loss and its factor :math:`w_i` >= 0. A loss maps logits and labels to a scalar.

    Raises:
        ValueError: no term, an entry that is no pair of a loss and a number, or a negative factor.

    Example:
        >>> import torch
        >>> from monai.losses import DiceLoss
        >>> from camtools.losses import OEEMLoss
        >>> dice = DiceLoss(softmax=True, to_onehot_y=True, ignore_index=255, batch=True)
        >>> loss = SumLoss([(OEEMLoss(), 1.0), (dice, 0.5)])
        >>> loss(torch.zeros(1, 2, 4, 4), torch.ones(1, 1, 4, 4, dtype=torch.uint8))  # log 2 + 0.5 (1 + 1/3) / 2
        tensor(1.0265)
    """

    def __init__(self, terms: Sequence[tuple[Loss, float]]) -> None:
        super().__init__()
        if not terms:
            raise ValueError("Expected one or more pairs of a loss and a factor, found none. Give at least one.")
        for term in terms:
            if len(term) != 2 or not callable(term[0]) or not isinstance(term[1], int | float):
                raise ValueError(
                    f"Expected pairs of a loss and a factor, found {term!r}. Write [{{_target_: ...}}, 1.0]."
                )
            if not term[1] >= 0:
                raise ValueError(f"Expected factors of at least 0, found {term[1]}. Correct the factor.")
        self.losses = [loss for loss, _ in terms]
        self.factors = [float(factor) for _, factor in terms]
        self.modules_of_terms = nn.ModuleList(loss for loss in self.losses if isinstance(loss, nn.Module))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Compute the sum.

        Args:
            logits: as the losses take them.
            labels: as the losses take them.

        Returns:
            Scalar.
        """
        total = logits.new_zeros(())
        for loss, factor in zip(self.losses, self.factors, strict=True):
            total = total + factor * loss(logits, labels)
        return total
