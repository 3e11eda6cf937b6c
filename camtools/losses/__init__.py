"""Losses of the published methods."""

from camtools.losses.soft_cross_entropy import DualPseudoLabelLoss, SoftCrossEntropyLoss
from camtools.losses.sup_con import SupConLoss

__all__ = ["DualPseudoLabelLoss", "SoftCrossEntropyLoss", "SupConLoss"]
