"""Class maps of whole images, from overlapping patches at several scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camtools.cams.capture import evaluation_mode
from camtools.cams.passes import copies_per_pass, prepare_images
from camtools.patches import PatchGrid

__all__ = ["PatchClassMaps", "class_distribution"]


class _Classifier(Protocol):
    def class_maps(self, images: Tensor) -> Tensor: ...


def class_distribution(scores: Tensor, present: Tensor | None = None) -> Tensor:
    r"""Softmax over the classes that are present; absent classes get zero.

    .. math:: q_k(i) = \frac{y_k \exp M_k(i)}{\sum_j y_j \exp M_j(i)}

    Its largest entry is the class that eq. 2 of OEEM chooses among those present, and unlike the scores it can be
    averaged over patches of which a class is absent from some.

    Args:
        scores: M, ``(B, N, K, H, W)`` for N patches and K classes.
        present: y, bool ``(B, N, K)``; None: all classes. Where a patch has no class at all, all count as present.

    Returns:
        ``(B, N, K, H, W)`` in [0, 1], summing to 1 over the classes.

    Raises:
        ValueError: shapes that do not match.

    Example:
        >>> import torch
        >>> scores = torch.zeros(1, 1, 2, 1, 1)
        >>> class_distribution(scores, torch.tensor([[[True, False]]])).flatten()
        tensor([1., 0.])
    """
    if scores.ndim != 5 or (present is not None and present.shape != scores.shape[:3]):
        found = "None" if present is None else tuple(present.shape)
        raise ValueError(
            f"expected scores (B, N, K, H, W) and present (B, N, K), found {tuple(scores.shape)} and {found}"
        )
    if present is not None:
        present = present.to(scores.device, torch.bool)
        absent = ~present & present.any(dim=2, keepdim=True)
        scores = scores.masked_fill(absent[..., None, None], -torch.inf)
    return scores.softmax(dim=2)


class PatchClassMaps:
    r"""Class maps of images of any size, by the classifier's weights on overlapping patches at several scales (OEEM).

    Each patch X is resized to the classifier's input size times each scale s; the maps of all classes come from one
    forward pass, are brought back to the patch and averaged:

    .. math:: M = \frac{1}{S} \sum_s up\big(f(X_s) \cdot \phi\big) \qquad \text{(eq. 1)}

    :meth:`stitch` turns them into distributions over the classes present in each patch (:func:`class_distribution`) and
    averages these where patches overlap; the pseudo-mask is the largest entry at each pixel (eq. 2). All patches of a
    batch run in passes on the device of the images.

    Source: OEEM (Li et al., MICCAI 2022), section 2.1 (eq. 1-2), section 2.3 (scales), and table 2 (absent classes
    removed by the tags of patches).

    Args:
        network: classifier with ``class_maps(images) -> (B, K, h, w)``, such as
            :class:`camtools.networks.ResNet38`; used in evaluation mode and left as it was.
        grid: the patches.
        scales: sizes relative to ``input_size``, each > 0.
        input_size: side, in pixels, of the images the classifier was trained on; None: the side of the patches.
        batch_size: patches per pass at scale 1, fewer at larger scales; None: as many as are fast on the device.

    Raises:
        ValueError: no scale, or one that is not positive; a network without ``class_maps``.

    Example:
        >>> import torch
        >>> from camtools.networks import VGG16CAM
        >>> network = VGG16CAM(in_channels=3, width=0.0625)
        >>> maps = PatchClassMaps(network, PatchGrid(32, 16), scales=(1.0, 1.5))
        >>> maps(torch.rand(2, 3, 40, 70)).shape
        torch.Size([2, 2, 40, 70])
    """

    def __init__(
        self,
        network: nn.Module,
        grid: PatchGrid,
        scales: Sequence[float] = (1.0, 1.25, 1.5, 1.75, 2.0),
        input_size: int | None = 224,
        batch_size: int | None = None,
    ) -> None:
        if not hasattr(network, "class_maps"):
            raise ValueError(
                f"expected a network with class_maps(images) -> (B, K, h, w), found {type(network).__name__}; take a "
                "classifier of camtools.networks or add the method"
            )
        if not scales or min(scales) <= 0:
            raise ValueError(f"expected one or more scales > 0, found {tuple(scales)}")
        self.network = network
        self.grid = grid
        self.scales = tuple(scales)
        self.input_size = grid.size if input_size is None else input_size
        self.batch_size = batch_size

    def __call__(self, images: Tensor, present: Tensor | None = None) -> Tensor:
        """Map images ``(B, C, H, W)``: distribution over the classes ``(B, K, H, W)``; see :meth:`stitch`."""
        height, width = images.shape[2:]
        return self.stitch(self.patch_scores(images), height, width, present)

    def patch_scores(self, images: Tensor) -> Tensor:
        """Scores M of all patches.

        Args:
            images: ``(B, C, H, W)`` as the classifier takes them.

        Returns:
            ``(B, N, K, size, size)`` float32, any sign, patches in the order of the grid.
        """
        patches = self.grid.extract(images)
        with torch.no_grad(), evaluation_mode(self.network):
            total = sum(self._at_scale(patches.flatten(0, 1), scale) for scale in self.scales)
        scores = torch.as_tensor(total) / len(self.scales)
        return scores.view(*patches.shape[:2], *scores.shape[1:])

    def stitch(self, scores: Tensor, height: int, width: int, present: Tensor | None = None) -> Tensor:
        """Average the patches' distributions over the image.

        Args:
            scores: from :meth:`patch_scores`.
            height: of the image.
            width: of the image.
            present: tags of the patches, bool ``(B, N, K)``; None removes no class.

        Returns:
            ``(B, K, height, width)`` float32 in [0, 1], summing to 1 over the classes.
        """
        return self.grid.stitch(class_distribution(scores, present), height, width)

    def _at_scale(self, patches: Tensor, scale: float) -> Tensor:
        side = round(self.input_size * scale)
        batch_size = None if self.batch_size is None else max(1, int(self.batch_size / scale**2))
        chunk = copies_per_pass(patches.new_empty(1).expand(len(patches), 1, side, side), batch_size)
        return torch.cat([self._pass(part, side) for part in patches.split(chunk)])

    def _pass(self, patches: Tensor, side: int) -> Tensor:
        resized = F.interpolate(patches, size=(side, side), mode="bilinear", align_corners=False)
        classifier: _Classifier = self.network  # type: ignore[assignment]
        maps = classifier.class_maps(prepare_images(resized, self.network, channels_last=True)).float()
        return F.interpolate(maps, size=patches.shape[2:], mode="bilinear", align_corners=False)
