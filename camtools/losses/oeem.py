"""Online easy example mining: cross-entropy that gives more weight to pixels that are easy to learn."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["OEEMLoss", "Weighting"]

Weighting = Literal["loss_norm", "confidence", "confidence_difference", "loss_confidence", "ohem", "none"]


class OEEMLoss(nn.Module):
    r"""Cross-entropy whose pixels are weighted by how easy they are, for labels that are partly wrong.

    .. math:: L = \frac{1}{N} \sum_i W_i L_i, \qquad L_i = -\log p_{y_i}(i), \qquad p(i) = softmax(logits(i))

    over the N pixels of the batch that are not ignored. The weights carry no gradient:

    - ``"loss_norm"`` (eq. 6): :math:`W = sm(-L) / mean(sm(-L))`, the softmax over the pixels of an image,
    - ``"confidence"`` (eq. 4): :math:`W_i = \max_k p_k(i)`,
    - ``"confidence_difference"`` (eq. 5): :math:`W_i = \max_k p_k(i) - \min_k p_k(i)`,
    - ``"loss_confidence"`` (eq. 7): the product of the first two,
    - ``"ohem"``: online *hard* example mining, the opposite, a baseline: the mean over the pixels whose own class has
      a probability below ``ohem_threshold``, and over the ``ohem_kept`` hardest ones if these are fewer,
    - ``"none"``: plain cross-entropy.

    Images with labels of one class have no confusion to avoid, so their weights are 1 (eq. 8); ``"ohem"`` has no
    such exception. The paper sums over the pixels; with the mean, the learning rate does not depend on the image size.
    Computed in at least float32, also under autocast.

    Source: OEEM (Li et al., MICCAI 2022), eq. 3-8 and table 3; OHEM: Shrivastava et al., CVPR 2016, with the two
    parameters of its usual form for pixels.

    Args:
        weighting: one of those above.
        ignore_index: label of pixels that are ignored.
        ohem_threshold: probability in (0, 1]; only for ``"ohem"``.
        ohem_kept: smallest number of pixels of a batch that are kept; only for ``"ohem"``.

    Raises:
        ValueError: an unknown weighting, a threshold outside (0, 1] or fewer than one pixel kept.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[[[4.0, -4.0, 0.0]], [[0.0, 0.0, 4.0]]]])  # the second pixel contradicts its label
        >>> labels = torch.tensor([[[[0, 0, 1]]]])
        >>> OEEMLoss()(logits, labels) < 0.1 * OEEMLoss("none")(logits, labels)
        tensor(True)
    """

    def __init__(
        self,
        weighting: Weighting = "loss_norm",
        ignore_index: int = 255,
        ohem_threshold: float = 0.7,
        ohem_kept: int = 100_000,
    ) -> None:
        super().__init__()
        if weighting not in get_args(Weighting):
            raise ValueError(f"expected weighting to be one of {', '.join(get_args(Weighting))}, found {weighting!r}")
        if not 0 < ohem_threshold <= 1 or ohem_kept < 1:
            raise ValueError(
                "expected ohem_threshold in (0, 1] and ohem_kept of at least 1, "
                f"found ohem_threshold={ohem_threshold} and ohem_kept={ohem_kept}"
            )
        self.weighting = weighting
        self.ignore_index = ignore_index
        self.ohem_threshold = ohem_threshold
        self.ohem_kept = ohem_kept

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            logits: ``(B, K, *spatial)``, any floating type.
            labels: integer classes ``(B, 1, *spatial)`` or ``(B, *spatial)``, 0 to K - 1 or ``ignore_index``.

        Returns:
            Scalar >= 0; 0 when every pixel is ignored.

        Raises:
            ValueError: shapes that do not match, labels that are not integers or not classes of the logits.
        """
        labels = self._checked(logits, labels).flatten(1).long()
        wide = logits.flatten(2).to(torch.promote_types(logits.dtype, torch.float32))
        losses = F.cross_entropy(wide, labels, ignore_index=self.ignore_index, reduction="none")
        valid = labels != self.ignore_index
        with torch.no_grad():
            weights = self._weights(wide, labels, losses, valid) * valid
        kept = (weights > 0).sum() if self.weighting == "ohem" else valid.sum()
        return (weights * losses).sum() / kept.clamp(min=1)

    def _checked(self, logits: Tensor, labels: Tensor) -> Tensor:
        shape = (len(logits), *logits.shape[2:])
        if logits.ndim < 3 or labels.shape not in (shape, (len(logits), 1, *logits.shape[2:])):
            raise ValueError(
                "expected logits (B, K, *spatial) and labels (B, 1, *spatial) or (B, *spatial), "
                f"found {tuple(logits.shape)} and {tuple(labels.shape)}"
            )
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
            raise ValueError(
                f"expected labels that are integer classes, found {labels.dtype}; cast them with labels.long()"
            )
        wrong = labels[(labels != self.ignore_index) & ((labels < 0) | (labels >= logits.shape[1]))]
        if len(wrong):
            raise ValueError(
                f"expected labels from 0 to {logits.shape[1] - 1}, or {self.ignore_index} for pixels to ignore, "
                f"found {int(wrong[0])}"
            )
        return labels.reshape(shape)

    def _weights(self, logits: Tensor, labels: Tensor, losses: Tensor, valid: Tensor) -> Tensor:
        """Weights ``(B, N)`` of all pixels; the weights of ignored pixels do not matter."""
        if self.weighting == "none":
            return torch.ones_like(losses)
        if self.weighting == "ohem":
            return self._hard(losses, valid)
        weights = torch.ones_like(losses)
        if self.weighting in ("loss_norm", "loss_confidence"):
            share = (-losses).masked_fill(~valid, -torch.inf).softmax(dim=1)
            weights = share * valid.sum(dim=1, keepdim=True)
        if self.weighting != "loss_norm":
            probability = logits.softmax(dim=1)
            confidence = probability.amax(dim=1)
            if self.weighting == "confidence_difference":
                confidence = confidence - probability.amin(dim=1)
            weights = weights * confidence
        highest = labels.masked_fill(~valid, -1).amax(dim=1)
        lowest = labels.masked_fill(~valid, logits.shape[1]).amin(dim=1)
        return torch.where((highest > lowest)[:, None], weights, 1.0)

    def _hard(self, losses: Tensor, valid: Tensor) -> Tensor:
        probability = torch.exp(-losses).masked_fill(~valid, torch.inf)
        kept = min(self.ohem_kept, probability.numel())
        threshold = probability.flatten().kthvalue(kept).values.clamp(min=self.ohem_threshold)
        return ((probability <= threshold) & valid).to(losses.dtype)
