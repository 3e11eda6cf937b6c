"""Weights of a residual network without its class layer, into the classifiers of this package."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

__all__ = ["check_fit", "load_features"]


def check_fit(width: float, in_channels: int) -> None:
    """Check that a network has the channels of published weights.

    Raises:
        ValueError: a width other than 1, or images that are neither gray nor RGB.
    """
    if width != 1.0 or in_channels not in (1, 3):
        raise ValueError(
            "expected width=1.0 and in_channels 1 or 3 for pretrained weights, found "
            f"width={width}, in_channels={in_channels}; change these or use pretrained=False"
        )


def load_features(
    model: nn.Module, state: Mapping[str, Tensor], first: str, heads: tuple[str, ...], source: str, advice: str
) -> None:
    """Load all of a network but its class layer, in place.

    Args:
        model: whose parameters and buffers the state names.
        state: state dictionary; counts of batches may be missing, as in older files.
        first: name of the first convolution; summed over RGB where the model takes one channel.
        heads: how the names of class layers begin, in the state or the model; these are left alone.
        source: what the state should be, for the error.
        advice: what to do about it, for the error.

    Raises:
        ValueError: a name or shape of the state is not the model's, or one of the model's is missing.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False))
        >>> state = {"0.weight": torch.ones(2, 3, 1, 1), "fc.bias": torch.zeros(1000)}
        >>> load_features(model, state, first="0", heads=("fc.",), source="a file", advice="pass another")
        >>> model[0].weight.flatten().tolist()
        [3.0, 3.0]
    """
    loaded = {key: value for key, value in state.items() if not key.startswith(heads)}
    weight = f"{first}.weight"
    own = model.state_dict()
    if weight in loaded and own[weight].shape[1] == 1:
        loaded[weight] = loaded[weight].sum(dim=1, keepdim=True)
    features = {key: value for key, value in own.items() if not key.startswith(heads)}
    # a plain dictionary without the counts of batches is loaded as an older file
    wrong = [key for key in features if key not in loaded and not key.endswith("num_batches_tracked")]
    wrong += [key for key in loaded if key not in features or loaded[key].shape != features[key].shape]
    if wrong:
        shape = f"of shape {tuple(loaded[wrong[0]].shape)}" if wrong[0] in loaded else "missing"
        found = shape if wrong[0] in features else "that is not part of it"
        raise ValueError(f"expected pretrained to be {source}, found {wrong[0]} {found}; {advice}")
    model.load_state_dict({**{key: value for key, value in own.items() if key not in features}, **loaded})
