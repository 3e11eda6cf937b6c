"""The maps of several methods from one forward and one backward pass."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from camtools.cams import GradientActivationMap
from camtools.cams.capture import activation_gradients, forward_with_activations
from camtools.cams.targets import Target, class_indices

__all__ = ["SharedPass"]


class SharedPass(GradientActivationMap):
    """The maps of several methods from the same activations and gradients: one forward and one backward pass for all.

    Maps of LTGrad-CAM and LTLayer-CAM stay apart here; the sum is the fusion ``layer_sum``.

    Args:
        cams: CAM objects on the same model and layers.
        batch_size: images per pass; None chooses.
    """

    def __init__(self, cams: Sequence[GradientActivationMap], batch_size: int | None = None) -> None:
        super().__init__(cams[0].model, cams[0].layers, batch_size, cams[0].reshape)
        self.cams = list(cams)

    @property
    def maps_per_image(self) -> int:
        """Number of methods times number of layers."""
        return len(self.cams) * len(self.layers)

    def layer_maps(self, images: Tensor, target: Target) -> list[Tensor]:
        """Maps of the first method for each layer, then of the next one."""
        logits, outputs = forward_with_activations(
            self.model, self.layers, images, differentiable=True, reshape=self.reshape
        )
        raw = {name: output.raw for name, output in outputs.items()}
        gradients = activation_gradients(logits, class_indices(logits, target), raw)
        maps = []
        for cam in self.cams:
            for name in self.layers:
                output = outputs[name]
                maps.append(cam.layer_map(output.activations, output.read_gradients(name, gradients[name])))
        return maps

    def layer_map(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Map of the first method."""
        return self.cams[0].layer_map(activations, gradients)
