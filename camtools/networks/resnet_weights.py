"""Weights of a residual network without its class layer, into the classifiers of this package."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from camtools.networks.unit_images import grey_filters, grey_weight

__all__ = ["check_fit", "load_features"]


def check_fit(width: float, norm: str) -> None:
    """Check that a network has the width and the normalisation of published weights.

    Raises:
        ValueError: a width other than 1, or no batch normalisation.
    """
    if norm == "group":
        raise ValueError(
            "expected norm='batch' or 'frozen' for pretrained weights, found norm='group'; change it or use "
            "pretrained=False"
        )
    if width != 1.0:
        raise ValueError(
            f"expected width=1.0 for pretrained weights, found width={width}; change it or use pretrained=False"
        )


def load_features(
    model: nn.Module,
    state: Mapping[str, Tensor],
    first: str,
    heads: tuple[str, ...],
    source: str,
    advice: str,
    next_norm: str | None = None,
) -> None:
    """Load all of a network but its class layer, in place.

    Args:
        model: whose parameters and buffers the state names.
        state: state dictionary; counts of batches may be missing, as in older files.
        first: name of the first convolution; summed over RGB, and shared by the channels, where the model does not take
            three (:func:`camtools.networks.unit_images.grey_weight`).
        heads: how the names of class layers begin, in the state or the model; these are left alone.
        source: what the state should be, for the error.
        advice: what to do about it, for the error.
        next_norm: name of the normalisation after the first convolution, for a model that scales images in [0, 1]:
            a convolution of other channels than RGB then is :func:`camtools.networks.unit_images.grey_filters`, not the
            plain sum.

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
    channels = own[weight].shape[1]
    if weight in loaded and channels != 3 and loaded[weight].shape[1:2] == (3,):
        _sum_colours(loaded, weight, channels, next_norm)
    features = {key: value for key, value in own.items() if not key.startswith(heads)}
    # a plain dictionary without the counts of batches is loaded as an older file
    wrong = [key for key in features if key not in loaded and not key.endswith("num_batches_tracked")]
    wrong += [key for key in loaded if key not in features or loaded[key].shape != features[key].shape]
    if wrong:
        shape = f"of shape {tuple(loaded[wrong[0]].shape)}" if wrong[0] in loaded else "missing"
        found = shape if wrong[0] in features else "that is not part of it"
        raise ValueError(f"expected pretrained to be {source}, found {wrong[0]} {found}; {advice}")
    model.load_state_dict({**{key: value for key, value in own.items() if key not in features}, **loaded})


def _sum_colours(state: dict[str, Tensor], weight: str, channels: int, next_norm: str | None) -> None:
    """Make the first convolution of a state one of grey images, or of other channels, in place."""
    mean = f"{next_norm}.running_mean"
    if mean not in state:
        state[weight] = grey_weight(state[weight], channels)
        return
    state[weight], constant = grey_filters(state[weight], channels)
    state[mean] = state[mean] - constant  # normalisation takes away what the filters would add
