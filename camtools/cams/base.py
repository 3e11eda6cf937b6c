"""What every activation map shares: chunks, the borrowed model, upsampling to the input size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camtools.cams.capture import activation_gradients, check_layers, evaluation_mode, forward_with_activations
from camtools.cams.targets import Target, check_target, class_indices

__all__ = ["ActivationMap", "GradientActivationMap"]

UPSAMPLING = {4: "bilinear", 5: "trilinear"}


class ActivationMap(ABC):
    """Base of the activation maps: ``maps = cam(images, target)``.

    A subclass says how the maps of one chunk come about (:meth:`layer_maps`); this class cuts the batch into chunks,
    borrows the model, and upsamples. The model is in evaluation mode meanwhile and given back as it was: training
    flags, ``requires_grad``, no gradient in its parameters, no hook left, also when its forward raises. Gradients are
    switched on where they are needed, so it works under ``torch.no_grad()`` and ``torch.inference_mode()``.

    Args:
        model: classifier ``(B, C, *spatial) -> (B, K)`` logits (or ``(B,)``: one logit), on the images' device. Any
            floating-point type; images are cast to the type of its first parameter.
        layers: names of submodules as in ``model.named_modules()``, one map for each.
        batch_size: images per forward pass; None takes all at once. On a CPU, chunks of about 4 are fastest.

    Raises:
        ValueError: an unknown layer name (the message lists near ones) or a batch size below 1.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str], batch_size: int | None = None) -> None:
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, or None for the whole batch, got {batch_size}")
        self.model = model
        self.layers = check_layers(model, layers)
        self.batch_size = batch_size

    def __call__(self, images: Tensor, target: Target = None) -> Tensor:
        """Compute the activation maps of a batch.

        Args:
            images: ``(B, C, H, W)`` or ``(B, C, X, Y, Z)``; B may be 0.
            target: the class to explain: an int for all, an integer tensor ``(B,)`` with one for each image, or None
                for each image's arg-max (the only logit of a one-logit model).

        Returns:
            ``(B, L, H, W)`` or ``(B, L, X, Y, Z)`` float32, >= 0, not normalised: one map per layer, upsampled
            (bilinear or trilinear, ``align_corners=False``) to the input size, on the images' device.

        Raises:
            ValueError: images of another number of dimensions, a target that is no class of the model, a layer that
                does not run exactly once or has no spatial activations, a model that does not return logits.
        """
        if images.ndim not in UPSAMPLING:
            raise ValueError(
                f"images must be (B, C, H, W) or (B, C, X, Y, Z), got shape {tuple(images.shape)}; "
                "a single image needs a batch dimension: images[None]"
            )
        target = check_target(target, len(images))
        size = self.batch_size or max(len(images), 1)
        with torch.inference_mode(False), torch.no_grad(), evaluation_mode(self.model):
            images = self._plain(images)
            maps = images.new_empty((len(images), len(self.layers), *images.shape[2:]), dtype=torch.float32)
            for start in range(0, len(images), size):
                chunk = slice(start, start + size)
                chosen = target[chunk] if isinstance(target, Tensor) else target
                for index, layer_map in enumerate(self.layer_maps(images[chunk], chosen)):
                    maps[chunk, index : index + 1] = _upsample(layer_map, images.shape[2:])
        return maps

    @abstractmethod
    def layer_maps(self, images: Tensor, target: Target) -> list[Tensor]:
        """Compute the maps of one chunk at the layers' own resolutions.

        Runs with gradients off and the model in evaluation mode.

        Args:
            images: ``(B, C, *spatial)``, B >= 1, of the model's type.
            target: checked for type and shape, not for range.

        Returns:
            One map ``(B, 1, *spatial of the layer)``, >= 0, per layer, in the order of ``self.layers``.
        """

    def _plain(self, images: Tensor) -> Tensor:
        images = images.as_subclass(Tensor)
        if images.is_inference():
            images = images.clone()  # autograd cannot save a tensor made in inference mode
        parameter = next((p for p in self.model.parameters() if p.is_floating_point()), None)
        return images if parameter is None else images.to(parameter.dtype)


class GradientActivationMap(ActivationMap):
    """Base of the maps made from activations and their gradients: one forward, one backward pass for all layers.

    A subclass is one function: :meth:`layer_map`.
    """

    def layer_maps(self, images: Tensor, target: Target) -> list[Tensor]:
        """Compute the maps of one chunk; see :meth:`ActivationMap.layer_maps`."""
        logits, activations = forward_with_activations(self.model, self.layers, images, differentiable=True)
        gradients = activation_gradients(logits, class_indices(logits, target), activations)
        return [self.layer_map(activations[name], gradients[name]) for name in self.layers]

    @abstractmethod
    def layer_map(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Combine activations and gradients ``(B, K, *spatial)`` of one layer into its map ``(B, 1, *spatial)``."""


def _upsample(layer_map: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(layer_map, size=size, mode=UPSAMPLING[layer_map.ndim], align_corners=False)
