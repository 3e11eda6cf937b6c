"""Read the activations and gradients of named layers out of a model that is borrowed and given back as it was."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from camtools.cams.passes import eager
from camtools.cams.targets import as_logits

__all__ = ["activation_gradients", "check_layers", "evaluation_mode", "forward_with_activations", "lazy_clone"]

lazy_clone = getattr(torch, "_lazy_clone", torch.clone)


def check_layers(model: nn.Module, layers: Sequence[str]) -> tuple[str, ...]:
    """Check that every name is a submodule of the model.

    Args:
        model: the model.
        layers: names as in ``model.named_modules()``.

    Returns:
        The names, as a tuple.

    Raises:
        ValueError: no name, a bare string instead of a list, or a name that the model does not have.
    """
    if isinstance(layers, str) or not layers:
        raise ValueError(f"layers must be a list of at least one layer name, got {layers!r}; write layers=['NAME']")
    names = [name for name, _ in model.named_modules(remove_duplicate=False) if name]
    for layer in layers:
        if layer not in names:
            near = difflib.get_close_matches(layer, names, n=5) or names[-5:]
            raise ValueError(
                f"no layer named {layer!r} in {type(model).__name__}; near names: {', '.join(near)}; "
                "all names: [name for name, _ in model.named_modules()]"
            )
    return tuple(layers)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode and give every submodule its own training flag back, also after an error."""
    flags = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, flag in flags:
            module.training = flag


def forward_with_activations(
    model: nn.Module, layers: Sequence[str], images: Tensor, *, differentiable: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run the model once and keep the outputs of the named layers.

    Call it with gradients switched off. With ``differentiable``, they are switched on from the first of the layers that
    runs: what lies below it is computed without a graph, and a backward pass ends there. Its output is made a leaf, so
    models whose parameters are all frozen work too.

    Args:
        model: classifier; no hook stays on it.
        layers: names of submodules, each of which runs once.
        images: ``(B, C, *spatial)``.
        differentiable: keep the graph from the shallowest layer to the output.

    Returns:
        The logits ``(B, classes)`` and, by name, the activations ``(B, K, *spatial of the layer)``. What the model does
        to them afterwards in place (an in-place ReLU, say) does not change them.

    Raises:
        ValueError: a layer does not run, runs twice, or does not return one tensor ``(B, K, *spatial)``; the model does
            not return logits.
    """
    activations: dict[str, Tensor] = {}
    handles = []
    try:
        for name in dict.fromkeys(layers):
            hook = partial(_keep, activations, name, images.ndim, differentiable)
            handles.append(model.get_submodule(name).register_forward_hook(hook))
        with torch.no_grad(), eager(model):  # gives the caller's gradient mode back, which a hook may change
            logits = as_logits(model(lazy_clone(images)), len(images))
    finally:
        for handle in handles:
            handle.remove()
    missing = [name for name in layers if name not in activations]
    if missing:
        raise ValueError(
            f"layer {missing[0]!r} did not run in the forward pass; choose a layer that the model calls as a module "
            "(a scripted model does not call its own: pass the original model)"
        )
    return logits, activations


def _keep(
    activations: dict[str, Tensor],
    name: str,
    ndim: int,
    differentiable: bool,
    module: nn.Module,
    inputs: tuple[object, ...],
    output: object,
) -> Tensor:
    if name in activations:
        raise ValueError(f"layer {name!r} runs more than once in one forward pass; choose a layer that runs once")
    if not isinstance(output, Tensor) or output.ndim != ndim:
        found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(
            f"layer {name!r} must return one tensor (B, K, *spatial) with {ndim} dimensions like the images, "
            f"got {found}; choose a convolutional layer"
        )
    # A lazy clone copies only when one side is written to: free for most models, and in-place operations of the
    # model, before or after, cannot reach what is kept (nor do they meet a leaf, which autograd refuses). It is
    # private in torch; where it is missing, a plain copy does.
    kept = lazy_clone(output)
    if differentiable:
        if not kept.requires_grad:
            kept = kept.detach().requires_grad_()
        torch.set_grad_enabled(True)
    activations[name] = kept
    return lazy_clone(kept)


def activation_gradients(logits: Tensor, indices: Tensor, activations: dict[str, Tensor]) -> dict[str, Tensor]:
    r"""Gradients :math:`\partial y_b / \partial f_b` of each sample's own logit, in one backward pass for all layers.

    Only the paths from the logits to the activations are computed: parameters get no gradient.

    Args:
        logits: ``(B, K)`` of a differentiable forward pass.
        indices: ``(B,)`` integer, the class of each sample.
        activations: name to activations, from :func:`forward_with_activations`.

    Returns:
        Name to gradients, of the shape and type of the activations.

    Raises:
        ValueError: the logits do not depend on a layer.
    """
    chosen = torch.zeros_like(logits).scatter_(1, indices[:, None], 1.0)
    if not logits.requires_grad:
        raise ValueError(f"no gradient reaches {', '.join(activations)}: the logits do not depend on it")
    gradients = torch.autograd.grad(logits, list(activations.values()), chosen, allow_unused=True)
    for name, gradient in zip(activations, gradients, strict=True):
        if gradient is None:
            raise ValueError(f"no gradient reaches layer {name!r}: the logits do not depend on it; choose another")
    return dict(zip(activations, gradients, strict=True))
