"""Find the layers that a user names in a model, and the model to look in."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from camtools.cams.passes import uncompiled

__all__ = ["bare_model", "check_layers"]

WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def bare_model(model: nn.Module) -> nn.Module:
    """The model whose layers can be read: without ``torch.compile`` and without the wrappers of several devices.

    Raises:
        ValueError: not an ``nn.Module``, or a scripted, traced or exported one, whose layers cannot be read.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"expected a model that is a torch.nn.Module, found {type(model).__name__}; pass the network itself: load "
            "a file first; an exported program or another runtime has no layers to read"
        )
    inner = uncompiled(model)
    while isinstance(inner, WRAPPERS):
        inner = uncompiled(inner.module)
    if isinstance(inner, torch.jit.ScriptModule):
        raise ValueError(
            f"expected a model in Python, found a scripted or traced one ({type(inner).__name__}, such as a model.ts), "
            "whose layers cannot be read; build the network and load its weights: "
            "network.load_state_dict(scripted.state_dict())"
        )
    return inner


def check_layers(model: nn.Module, layers: Sequence[str | nn.Module]) -> tuple[str, ...]:
    """Names of the layers of a model, each given as a name or as the module itself.

    Args:
        model: the model, without wrappers.
        layers: names as in ``model.named_modules()``, or modules of the model.

    Returns:
        The names, as a tuple.

    Raises:
        ValueError: no layer, a bare layer instead of a list, or one that the model does not have.
    """
    if isinstance(layers, nn.Module):
        raise ValueError(
            f"expected layers as a list of layer names or modules, found a single {type(layers).__name__}; "
            "write layers=[model.LAYER] or layers=['NAME']"
        )
    if isinstance(layers, str) or not isinstance(layers, Iterable) or not layers:
        raise ValueError(f"expected layers as a list of layer names, found {layers!r}; write layers=['NAME']")
    names = {name: module for name, module in model.named_modules(remove_duplicate=False) if name}
    found = tuple(_name(layer, names, model) for layer in layers)
    for name in found:
        if isinstance(names[name], torch.jit.ScriptModule):
            raise ValueError(
                f"expected layers in Python, found {name!r}, which is scripted or traced and cannot be read; choose "
                "one before or after it, or build that part of the network in Python"
            )
    return found


def _name(layer: object, names: dict[str, nn.Module], model: nn.Module) -> str:
    if isinstance(layer, nn.Module):
        found = next((name for name, module in names.items() if module is uncompiled(layer)), None)
        found = next((name for name, module in names.items() if module is layer), found)
        if found is None:
            raise ValueError(
                f"expected layers of {type(model).__name__}, found a {type(layer).__name__} that is not part of it "
                "(perhaps the model itself, or a layer of a copy); give its name as in named_modules(), or model.LAYER"
            )
        return found
    if not isinstance(layer, str):
        raise ValueError(f"expected a layer as a name or a module, found {type(layer).__name__} {layer!r}")
    inner = layer
    while inner not in names and inner.startswith(("module.", "_orig_mod.")):
        inner = inner.partition(".")[2]  # named as in the wrapper
    if inner not in names:
        near = difflib.get_close_matches(layer, list(names), n=5) or list(names)[-5:]
        raise ValueError(
            f"expected the name of a layer of {type(model).__name__}, found {layer!r}; near names: {', '.join(near)}; "
            "list all names with [name for name, _ in model.named_modules()]"
        )
    return inner
