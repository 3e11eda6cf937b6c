"""A classifier under contrastive pre-training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

__all__ = ["ContrastiveNetwork"]


class ContrastiveNetwork(nn.Module):
    """Projected features of several views of images, which :class:`camtools.losses.SupConLoss` compares.

    The classifier is not copied: it holds the trained weights after pre-training, and also after the state of this
    network is loaded. Its class layer is not used.

    Source: Khosla et al., Supervised Contrastive Learning, NeurIPS 2020, section 3.1 (projection network: one hidden
    layer as wide as the features, 128 outputs).

    Args:
        classifier: with ``embed(images (N, C, H, W)) -> (N, D)`` and ``embedding_size``, as
            :class:`camtools.networks.ResNet18CAM`.
        projection_size: outputs of the projection.

    Raises:
        ValueError: a classifier without these.

    Example:
        >>> import torch
        >>> from camtools.networks import ResNet18CAM
        >>> network = ContrastiveNetwork(ResNet18CAM(width=0.125))
        >>> network(torch.rand(3, 2, 1, 64, 64)).shape
        torch.Size([3, 2, 128])
    """

    def __init__(self, classifier: nn.Module, projection_size: int = 128) -> None:
        super().__init__()
        if not hasattr(classifier, "embed") or not hasattr(classifier, "embedding_size"):
            raise ValueError(
                "expected a classifier with embed(images) and embedding_size for contrastive pre-training, such as "
                f"ResNet18CAM, found {type(classifier).__name__}"
            )
        self.classifier = classifier
        size: Any = classifier.embedding_size
        self.projection = nn.Sequential(nn.Linear(size, size), nn.ReLU(inplace=True), nn.Linear(size, projection_size))

    def forward(self, views: Tensor) -> Tensor:
        """Project the features of every view.

        Args:
            views: ``(B, V, C, H, W)``, V views of each image, as :class:`camtools.augment.Augmentation` makes them.

        Returns:
            ``(B, V, projection_size)``, not normalised.

        Raises:
            ValueError: another number of dimensions.
        """
        if views.ndim != 5:
            raise ValueError(
                f"expected views (B, V, C, H, W), found shape {tuple(views.shape)}; Augmentation(views=2) makes them"
            )
        embed: Callable[[Tensor], Tensor] = getattr(self.classifier, "embed")  # noqa: B009 - nn.Module hides its type
        features: Tensor = self.projection(embed(views.flatten(0, 1)))
        stacked: Tensor = features.unflatten(0, views.shape[:2])
        return stacked
