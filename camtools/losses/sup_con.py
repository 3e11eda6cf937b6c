"""Supervised contrastive loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["SupConLoss"]


class SupConLoss(nn.Module):
    r"""Supervised contrastive loss: views of the same class are pulled together, views of other classes apart.

    .. math::
        L = \frac{1}{|I|} \sum_{i \in I} \frac{-1}{|P(i)|} \sum_{p \in P(i)}
            \log \frac{\exp(z_i \cdot z_p / \tau)}{\sum_{a \in I \setminus \{i\}} \exp(z_i \cdot z_a / \tau)}

    over all views :math:`I` of the batch, :math:`z` normalised to length 1, with :math:`P(i)` the other views of the
    class of i. The paper sums over the views; with the mean, as in the authors' code, the learning rate does not
    depend on the batch size. A view without another view of its class is left out of the mean. Computed in at least
    float32, also under autocast.

    Source: Khosla et al., Supervised Contrastive Learning, NeurIPS 2020, eq. 2 (:math:`L^{sup}_{out}`).

    Args:
        temperature: :math:`\tau` > 0.

    Raises:
        ValueError: a temperature that is not positive.

    Example:
        >>> import torch
        >>> features = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])  # 2 images, 2 views each
        >>> SupConLoss(temperature=1.0)(features, torch.tensor([0, 1]))  # log(1 + 2 / e)
        tensor(0.5514)
    """

    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"expected a positive temperature, found {temperature}")
        self.temperature = temperature

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            features: ``(B, V, D)``, V views of each image, any floating type; normalised here.
            labels: class of each image, ``(B,)`` or ``(B, 1)``.

        Returns:
            Scalar >= 0; 0 when no view shares its class with another view.

        Raises:
            ValueError: features of another number of dimensions, or another number of labels.
        """
        if features.ndim != 3 or labels.numel() != len(features):
            raise ValueError(
                "expected features (B, V, D), V views of each image, and labels (B,), found "
                f"{tuple(features.shape)} and {tuple(labels.shape)}; Augmentation(views=2) makes the views"
            )
        views = features.shape[1]
        wide = features.flatten(0, 1).to(torch.promote_types(features.dtype, torch.float32))
        with torch.autocast(features.device.type, enabled=False):
            unit = F.normalize(wide, dim=1)
            similarity = unit @ unit.T / self.temperature
        itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
        log_probability = similarity - similarity.masked_fill(itself, -torch.inf).logsumexp(dim=1, keepdim=True)
        classes = labels.flatten().repeat_interleave(views)
        positive = (classes[:, None] == classes[None]) & ~itself
        count = positive.sum(dim=1)
        per_view = -torch.where(positive, log_probability, 0.0).sum(dim=1) / count.clamp(min=1)
        return per_view.sum() / (count > 0).sum().clamp(min=1)
