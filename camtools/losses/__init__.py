"""Losses of the published methods."""

from camtools.losses.auxiliary import AuxiliaryLoss
from camtools.losses.oeem import OEEMLoss
from camtools.losses.soft_cross_entropy import DualPseudoLabelLoss, SoftCrossEntropyLoss
from camtools.losses.sup_con import SupConLoss

__all__ = ["AuxiliaryLoss", "DualPseudoLabelLoss", "OEEMLoss", "SoftCrossEntropyLoss", "SupConLoss"]
