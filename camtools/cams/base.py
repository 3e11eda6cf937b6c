"""What all activation maps share: chunks, the borrowed model, upsampling to the input size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camtools.cams.capture import activation_gradients, evaluation_mode, forward_with_activations
from camtools.cams.layers import bare_model, check_layers
from camtools.cams.layout import Reshape
from camtools.cams.passes import check_images, fresh_autocast_cache, images_per_pass, prepare_images
from camtools.cams.targets import Target, check_target, class_indices

__all__ = ["ActivationMap", "GradientActivationMap", "upsample"]

UPSAMPLING = {4: "bilinear", 5: "trilinear"}
NOT_CHANNELS_LAST = "view size is not compatible"  # torch's words when Tensor.view meets another memory format


class ActivationMap(ABC):
    """Base of the activation maps: ``maps = cam(images, target)``.

    A subclass computes the maps of one chunk (:meth:`layer_maps`). This class cuts the batch into chunks, borrows the
    model, and upsamples. The model runs in evaluation mode and is given back as it was: training
    flags, ``requires_grad``, no gradient in its parameters, no hook left, also when its forward raises. Gradients are
    switched on where they are needed, so it works under ``torch.no_grad()`` and ``torch.inference_mode()``. Under
    ``torch.autocast`` the passes through the model are cast, and the maps made from them are float32.

    Args:
        model: classifier ``(B, C, *spatial) -> (B, K)`` logits (or ``(B,)``: one logit), on the images' device. Any
            floating-point type; images are cast to the type of its first parameter and given in the channels-last
            memory format, unless the model cannot take it. For a model compiled by ``torch.compile``, the layers
            are read uncompiled; only passes that read no layer (the masked passes of Score-CAM) run compiled.
        layers: names of submodules as in ``model.named_modules()`` of the uncompiled model, or these modules
            themselves; one map for each.
        batch_size: images per pass. None: on a CPU 4 images of 256 x 256 pixels or the same number of pixels, elsewhere
            the whole batch.
        reshape: from the output of a layer to ``(B, K, *spatial)``, applied to its gradients as well:
            :class:`~camtools.cams.Tokens` for the tokens ``(B, N, K)`` of a vision transformer, or any function. None:
            channels are looked for on axis 1 or the last one, where the model's own functions put them.

    Raises:
        ValueError: an unknown layer name (the message lists near ones), a batch size below 1, or a model that is
            not in Python (the layers of a scripted or exported model cannot be read).
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[str | nn.Module],
        batch_size: int | None = None,
        reshape: Reshape | None = None,
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"expected batch_size >= 1, or None for the default, found {batch_size}")
        self.model = bare_model(model)
        self.layers = check_layers(self.model, layers)
        self.batch_size = batch_size
        self.reshape = reshape
        self.scorer = model  # for passes that read no layer: the model as it was given, compiled or not
        self._channels_last = True

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
            ValueError: images that are not a floating-point tensor ``(B, C, *spatial)`` on the model's device, a target
                that is not a class of the model, a layer that does not run exactly once or whose output cannot be read
                as activations, a model that does not return logits.
        """
        check_images(images, self.model)
        target = check_target(target, len(images))
        with torch.inference_mode(False), torch.no_grad(), fresh_autocast_cache(), evaluation_mode(self.model):
            try:
                return self._maps(images, target)
            except RuntimeError as error:
                if not self._channels_last or NOT_CHANNELS_LAST not in str(error):
                    raise
                self._channels_last = False
                return self._maps(images, target)

    def _maps(self, images: Tensor, target: Target) -> Tensor:
        images = prepare_images(images, self.model, channels_last=self._channels_last)
        size = images_per_pass(images, self.batch_size)
        maps = images.new_empty((len(images), self.maps_per_image, *images.shape[2:]), dtype=torch.float32)
        for start in range(0, len(images), size):
            chunk = slice(start, start + size)
            chosen = target[chunk] if isinstance(target, Tensor) else target
            for index, layer_map in enumerate(self.layer_maps(images[chunk], chosen)):
                maps[chunk, index : index + 1] = upsample(layer_map, images.shape[2:])
        return maps

    @property
    def maps_per_image(self) -> int:
        """L, the number of maps that :meth:`layer_maps` returns: one per layer, unless the method adds them up."""
        return len(self.layers)

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


class GradientActivationMap(ActivationMap):
    """Base of the maps made from activations and their gradients: one forward, one backward pass for all layers.

    A subclass is one function: :meth:`layer_map`.
    """

    def layer_maps(self, images: Tensor, target: Target) -> list[Tensor]:
        """Compute the maps of one chunk; see :meth:`ActivationMap.layer_maps`."""
        logits, outputs = forward_with_activations(
            self.model, self.layers, images, differentiable=True, reshape=self.reshape
        )
        raw = {name: output.raw for name, output in outputs.items()}
        gradients = activation_gradients(logits, class_indices(logits, target), raw)
        maps = {
            name: self.layer_map(output.activations, output.read_gradients(name, gradients[name]))
            for name, output in outputs.items()
        }
        return [maps[name] for name in self.layers]

    @abstractmethod
    def layer_map(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Combine activations and gradients ``(B, K, *spatial)`` of one layer into its map ``(B, 1, *spatial)``."""


def upsample(layer_map: Tensor, size: torch.Size) -> Tensor:
    """Bring maps ``(B, L, *spatial)`` to the size of the images: bilinear or trilinear, corners not aligned."""
    return F.interpolate(layer_map, size=size, mode=UPSAMPLING[layer_map.ndim], align_corners=False)
