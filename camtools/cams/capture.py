"""Read the activations and gradients of named layers out of a model that is borrowed and given back as it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from camtools.cams.layout import Layout, Reshape, find_layout, put_tensor, take_tensor
from camtools.cams.passes import eager
from camtools.cams.targets import as_logits
from camtools.cams.watch import Watch, without_checkpoints

__all__ = ["LayerOutput", "activation_gradients", "evaluation_mode", "forward_with_activations", "lazy_clone"]

_lazy_clone = getattr(torch, "_lazy_clone", torch.clone)


def lazy_clone(value: Tensor) -> Tensor:
    """A copy that is made when one side is written to, or at once where torch cannot wait (memory from NumPy)."""
    try:
        return _lazy_clone(value)
    except RuntimeError:
        return value.clone()


NO_GRADIENT = (
    "the logits do not depend on it, or not in a way that can be differentiated (the model cuts it off with detach(), "
    "NumPy, or a function of its own under torch.no_grad())"
)


class LayerOutput(NamedTuple):
    """What a layer gave in one forward pass.

    Attributes:
        raw: its one tensor, as it is, a leaf or part of the graph where gradients were asked for.
        layout: how it is read.
    """

    raw: Tensor
    layout: Layout

    @property
    def activations(self) -> Tensor:
        """``(B, K, *spatial)``."""
        return self.layout.read(self.raw.detach())

    def read_gradients(self, name: str, gradients: Tensor) -> Tensor:
        """Gradients of ``raw`` as ``(B, K, *spatial)``.

        Raises:
            ValueError: only tokens that are not read have gradients.
        """
        read = self.layout.read(gradients)
        if read.numel() < gradients.numel() and not bool(read.any()) and bool(gradients.any()):
            raise ValueError(
                f"no gradient reaches the patches of layer {name!r}: the logits depend on its class token only; choose "
                "a layer before the last attention, such as the first norm of the last block"
            )
        return read


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode and give every submodule its own training flag back, also after an error.

    Raises:
        ValueError: a model without this mode, such as a model from ``torch.export``.
    """
    flags = [(module, module.training) for module in model.modules()]
    try:
        try:
            model.eval()
        except NotImplementedError as error:
            raise ValueError(
                f"expected a model in Python, found {type(model).__name__} of torch.export, whose layers cannot be "
                f"read ({error}); pass the network that was exported"
            ) from error
        yield
    finally:
        for module, flag in flags:
            module.training = flag


def forward_with_activations(
    model: nn.Module, layers: Sequence[str], images: Tensor, *, differentiable: bool, reshape: Reshape | None = None
) -> tuple[Tensor, dict[str, LayerOutput]]:
    """Run the model once and keep the outputs of the named layers.

    Call it with gradients switched off. With ``differentiable``, they are switched on from the first of the layers that
    runs: what lies below it is computed without a graph, and a backward pass ends there. Its output is made a leaf, so
    models whose parameters are all frozen work too, and the rest is computed with gradients also where the model
    itself switches them off.

    Args:
        model: classifier; no hook stays on it.
        layers: names of submodules, each of which runs once.
        images: ``(B, C, *spatial)``.
        differentiable: keep the graph from the shallowest layer to the output.
        reshape: from the output of a layer to ``(B, K, *spatial)``; None: see :func:`find_layout`.

    Returns:
        The logits ``(B, classes)`` and, by name, the outputs. What the model does to them afterwards in place (an
        in-place ReLU, say) does not change them.

    Raises:
        ValueError: a layer does not run, runs twice, or does not return one tensor that can be read as
            ``(B, K, *spatial)``; the model does not return logits.
    """
    kept: dict[str, LayerOutput] = {}
    copy = lazy_clone(images)
    watch = Watch(copy)
    handles = []
    try:
        for name in dict.fromkeys(layers):
            hook = partial(_keep, kept, name, images.shape, differentiable, reshape, watch)
            handles.append(model.get_submodule(name).register_forward_hook(hook))
        with (
            torch.no_grad(),
            eager(model),
            without_checkpoints(),
        ):  # no_grad gives the caller's mode back after the hook
            with watch:
                output = model(copy)
            logits = as_logits(output, len(images))
    finally:
        for handle in handles:
            handle.remove()
    missing = [name for name in layers if name not in kept]
    if missing:
        raise ValueError(
            f"expected layer {missing[0]!r} to run in the forward pass, found that it did not; choose a layer that the "
            "model calls as a module (a scripted model does not call its own: pass the original model)"
        )
    return logits, kept


def _keep(
    kept: dict[str, LayerOutput],
    name: str,
    shape: torch.Size,
    differentiable: bool,
    reshape: Reshape | None,
    watch: Watch,
    module: nn.Module,
    inputs: tuple[Any, ...],
    output: Any,
) -> object:
    if name in kept:
        raise ValueError(f"expected layer {name!r} to run once per forward pass, found a second run; choose another")
    raw = take_tensor(output)
    if raw is None or not raw.is_floating_point():
        found = type(output).__name__ if raw is None else f"{tuple(raw.shape)} of {raw.dtype}"
        raise ValueError(
            f"expected layer {name!r} to return one tensor (B, K, *spatial) with {len(shape)} dimensions like the "
            f"images, found {found}; choose a convolutional layer, or one inside {name!r}"
        )
    if watch.axes(raw) is None and inputs and isinstance(inputs[0], Tensor) and inputs[0].shape == raw.shape:
        watch.note(raw, watch.axes(inputs[0]) or ())  # a function that torch does not show, an activation mostly
    layout = find_layout(name, raw, shape, reshape, watch)
    # A lazy clone copies only when one side is written to: free for most models, and in-place operations of the
    # model, before or after, cannot reach what is kept (nor change a leaf, which autograd refuses). It is
    # private in torch; without it, a plain copy is made.
    value = lazy_clone(raw)
    if differentiable:
        if not value.requires_grad:
            value = value.detach().requires_grad_()
        torch.set_grad_enabled(True)
    kept[name] = LayerOutput(value, layout)
    return put_tensor(output, lazy_clone(value))


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
        raise ValueError(f"no gradient reaches {', '.join(activations)}: {NO_GRADIENT}; choose a later layer")
    gradients = torch.autograd.grad(logits, list(activations.values()), chosen, allow_unused=True)
    for name, gradient in zip(activations, gradients, strict=True):
        if gradient is None:
            raise ValueError(f"no gradient reaches layer {name!r}: {NO_GRADIENT}; choose another, or a later one")
    return dict(zip(activations, gradients, strict=True))
