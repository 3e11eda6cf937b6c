"""Losses of the published methods, on logits."""

from camtools.losses.soft_cross_entropy import DualPseudoLabelLoss, SoftCrossEntropyLoss

__all__ = ["DualPseudoLabelLoss", "SoftCrossEntropyLoss"]
