"""Steps of an augmentation with the random numbers of each sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from camtools.augment.batch import Batch, Step
from camtools.augment.geometry import check_label_mode

__all__ = ["Augmentation"]


class Augmentation:
    """Augment whole batches on their device.

    The random numbers of a sample depend on the seed, the epoch and the number of the sample alone. They do not depend
    on the order of the batches, on workers or on ranks, and a training that is resumed draws the same again.

    A batch holds ``image (B, C, H, W)`` and ``index (B,)``, the number of each sample; optionally ``label``, either
    tags, which do not change, or pixel labels ``(B, K, H, W)``; and ``frame (B, 2)``, height and width of each sample
    on a canvas that is padded by zeros at the end of both axes. ``index`` and ``frame`` should lie on the CPU.

    Args:
        steps: applied one after the other, see :class:`camtools.augment.Step`.
        seed: 0 or more.
        views: views of each sample. With 2 or more the image becomes ``(B, V, C, h, w)``, pixel labels alike. Source:
            Khosla et al., Supervised Contrastive Learning, NeurIPS 2020, section 3.1.
        sizes: factor of image size by first epoch, such as ``{0: 0.5, 4: 1.0}``; epochs are counted
            as a training counts them, from 1. Images are
            resized bilinearly with antialiasing. None never resizes.
        label_mode: ``"bilinear"`` or ``"nearest"``, how ``sizes`` resizes pixel labels.

    Raises:
        ValueError: an argument outside its range, ``set_epoch`` not called, or a batch of another shape.

    Example:
        >>> from camtools.augment import RandomCrop
        >>> augmentation = Augmentation([RandomCrop(4)], views=2)
        >>> augmentation.set_epoch(0, samples=10)
        >>> augmentation({"image": torch.ones(3, 1, 6, 6), "index": torch.tensor([7, 1, 2])})["image"].shape
        torch.Size([3, 2, 1, 4, 4])
    """

    def __init__(
        self,
        steps: Sequence[Step],
        seed: int = 0,
        views: int = 1,
        sizes: Mapping[int, float] | None = None,
        label_mode: str = "bilinear",
    ) -> None:
        if seed < 0:
            raise ValueError(f"Expected a seed of 0 or more, found {seed}.")
        if views < 1:
            raise ValueError(f"Expected 1 or more views, found {views}.")
        self.sizes = {int(epoch): float(factor) for epoch, factor in (sizes or {}).items()}
        if min(self.sizes, default=0) < 0 or min(self.sizes.values(), default=1.0) <= 0:
            raise ValueError(f"Expected sizes with epochs of 0 or more and factors above 0, found {self.sizes}.")
        check_label_mode(label_mode)
        self.steps = list(steps)
        self.seed = seed
        self.views = views
        self.label_mode = label_mode
        self.draws = sum(step.draws for step in self.steps)  # of one view
        self.factor = 1.0
        self._table: Tensor | None = None

    def set_epoch(self, epoch: int, samples: int) -> None:
        """Draw the random numbers of all samples of an epoch.

        Raises:
            ValueError: a negative epoch, or no sample.
        """
        if epoch < 0 or samples < 1:
            raise ValueError(f"Expected an epoch of 0 or more and 1 or more samples, found {epoch} and {samples}.")
        state = np.random.SeedSequence([self.seed, epoch]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))
        self._table = torch.rand(samples, self.views * self.draws, generator=generator, dtype=torch.float64)
        started = [first for first in self.sizes if first <= epoch]
        self.factor = self.sizes[max(started)] if started else 1.0

    def __call__(self, batch: Batch) -> Batch:
        """A new batch with augmented image and label."""
        uniform = self._uniform(batch)
        views = []
        for view in range(self.views):
            views.append(self._augmented(dict(batch), uniform[:, view * self.draws : (view + 1) * self.draws]))
        result = views[0]
        if self.views > 1:
            for key in ("image", "label"):
                if _has_pixels(result.get(key)):
                    result[key] = torch.stack([view[key] for view in views], 1)
        return result

    def _uniform(self, batch: Batch) -> Tensor:
        """Random numbers of the samples of a batch, ``(B, views * draws)``."""
        if self._table is None:
            raise ValueError("Expected set_epoch before the first batch. Call set_epoch(epoch, samples).")
        image = batch["image"]
        if image.ndim != 4:
            raise ValueError(f"Expected images of shape (B, C, H, W), found {tuple(image.shape)}.")
        label = batch.get("label")
        if _has_pixels(label) and (len(label), *label.shape[2:]) != (len(image), *image.shape[2:]):
            raise ValueError(
                f"Expected pixel labels of the images' size {tuple(image.shape)}, found {tuple(label.shape)}."
            )
        if "index" not in batch:
            raise ValueError("Expected the number of each sample as 'index', found none in the batch.")
        index = torch.as_tensor(batch["index"]).cpu()
        if index.shape != (len(image),):
            raise ValueError(f"Expected an index of shape ({len(image)},), found {tuple(index.shape)}.")
        samples = len(self._table)
        if bool((index < 0).any()) or bool((index >= samples).any()):
            raise ValueError(f"Expected numbers of samples between 0 and {samples - 1}, found {index.tolist()}.")
        return self._table[index]

    def _augmented(self, batch: Batch, uniform: Tensor) -> Batch:
        start = 0
        for step in self.steps:
            batch = step(batch, uniform[:, start : start + step.draws])
            start += step.draws
        if self.factor != 1:
            self._resize(batch)
        return batch

    def _resize(self, batch: Batch) -> None:
        height, width = batch["image"].shape[2:]
        size = (max(1, round(height * self.factor)), max(1, round(width * self.factor)))
        frame = batch.pop("frame", None)
        if frame is not None:
            limit = torch.tensor(size)
            batch["frame"] = (torch.as_tensor(frame).cpu() * self.factor).round().long().clamp(min=1).minimum(limit)
        batch["image"] = interpolate(batch["image"], size, mode="bilinear", antialias=True)
        label = batch.get("label")
        if not _has_pixels(label):
            return
        values = label.to(batch["image"].dtype)
        if self.label_mode == "nearest":
            values = interpolate(values, size, mode="nearest-exact")
        else:
            values = interpolate(values, size, mode="bilinear", antialias=True)
        batch["label"] = values.to(label.dtype)


def _has_pixels(value: object) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor) and value.ndim >= 4
