from __future__ import annotations

import torch

from camtools.losses import DualPseudoLabelLoss, EachViewLoss, OEEMLoss, RandomViewConsensusLoss, SumLoss
from camtools.losses.epochs import set_loss_epoch


def test_epoch_reaches_losses_inside_losses() -> None:
    consensus = RandomViewConsensusLoss(ramp_epochs=10)
    set_loss_epoch(DualPseudoLabelLoss(loss=SumLoss([(EachViewLoss(OEEMLoss()), 1.0), (consensus, 0.5)])), 7)
    assert consensus.epoch == 7


def test_losses_without_an_epoch_are_left_alone() -> None:
    loss = torch.nn.CrossEntropyLoss()
    before = dict(vars(loss))
    set_loss_epoch(loss, 3)
    assert vars(loss) == before

    def plain(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return logits.sum()

    set_loss_epoch(plain, 3)
    assert vars(plain) == {}


def test_epoch_of_a_plain_object() -> None:
    class Loss:
        epoch = 0

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

    loss = Loss()
    set_loss_epoch(loss, 3)
    assert loss.epoch == 3
