"""The epoch, for losses that change during a training."""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["set_loss_epoch"]


def set_loss_epoch(loss: Any, epoch: int) -> None:
    """Tell the epoch to a loss, and to all losses inside it, that have a method ``set_epoch``.

    Args:
        loss: loss of a training. Losses inside it are found if they are ``torch.nn`` modules.
        epoch: counted from 1.

    Example:
        >>> from camtools.losses import RandomViewConsensusLoss, SumLoss
        >>> consensus = RandomViewConsensusLoss(ramp_epochs=4)
        >>> set_loss_epoch(SumLoss([(consensus, 1.0)]), 4)
        >>> consensus.weight
        1.0
    """
    parts: list[Any] = list(loss.modules()) if isinstance(loss, nn.Module) else [loss]
    for part in parts:
        if hasattr(part, "set_epoch"):
            part.set_epoch(epoch)
