"""Losses of the published methods, and of segmenters that learn from labels with errors."""

from camtools.losses.auxiliary import AuxiliaryLoss
from camtools.losses.oeem import OEEMLoss
from camtools.losses.random_views import EachViewLoss, RandomViewConsensusLoss
from camtools.losses.soft_cross_entropy import DualPseudoLabelLoss, SoftCrossEntropyLoss
from camtools.losses.sum_loss import SumLoss
from camtools.losses.sup_con import SupConLoss

__all__ = [
    "AuxiliaryLoss",
    "DualPseudoLabelLoss",
    "EachViewLoss",
    "OEEMLoss",
    "RandomViewConsensusLoss",
    "SoftCrossEntropyLoss",
    "SumLoss",
    "SupConLoss",
]
