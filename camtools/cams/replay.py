"""Run a model again on changed activations of one layer, without repeating what comes before that layer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves, tree_map

from camtools.cams.capture import lazy_clone
from camtools.cams.layout import put_tensor, take_tensor
from camtools.cams.passes import eager
from camtools.cams.targets import as_logits

__all__ = ["WAYS", "Replay", "Way", "patched_forward", "wide_weights"]

Forward = Callable[..., Any]
Fit = Callable[[Tensor, int], Tensor]
Wrap = Callable[[nn.Module, Forward], Forward]


class _Input(NamedTuple):
    """Stands in a recorded output for the module's own input: an in-place ReLU returns it, so does an identity."""

    position: int


class _Call(NamedTuple):
    module: nn.Module
    output: object
    changed: dict[int, Tensor]  # inputs that the module wrote to, as they were afterwards


class Way(NamedTuple):
    """A way to repeat a pass for N activations: see :class:`Replay`."""

    fit: Fit  # from a recorded tensor of batch size 1, and N, to what is given in its place
    records: bool  # whether recorded outputs are given at all, instead of computed again
    memory: bool  # whether what comes before the layer takes memory for N images


class Replay:
    """One recorded forward pass of one image, to be repeated from a layer on with other activations of that layer.

    Recorded are the outputs of the outermost modules that finish before the layer does. When the pass is repeated, they
    answer from the record, the layer answers with the given activations, and everything else runs. A model is arbitrary
    Python, so the ways below are tried in this order, and the first one that raises no error and gives back the
    recorded logits for unchanged activations is right (``WAYS``):

    1. Answers keep the batch size of 1: what the model computes before the layer between its modules is computed once,
       and skip connections broadcast.
    2. Answers are expanded to the number of activations, without a copy: concatenations work as well.
    3. Answers are copied: what the model adds to them in place works as well.
    4. No record: the whole model runs, only the output of the layer is replaced.

    Args:
        model: classifier; its modules' ``forward`` are replaced during each pass and given back, also after an error.
        layer: name of the submodule, which runs once and returns one tensor.
        image: ``(1, C, *spatial)``.
        weights: parameters and buffers to use instead of the model's own, by name: see :func:`wide_weights`.
        batch: axis of the layer's output that holds the samples.

    Attributes:
        logits: ``(1, classes)``, recorded.
        features: activations of the layer ``(1, K, *spatial of the layer)``, recorded.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)).eval()
        >>> image = torch.rand(1, 1, 8, 8)
        >>> _ = model(image)
        >>> replay = Replay(model, "1", image)
        >>> replay(torch.zeros(5, 2, 6, 6), WAYS[0]).shape
        torch.Size([5, 3])
    """

    def __init__(
        self, model: nn.Module, layer: str, image: Tensor, weights: dict[str, Tensor] | None = None, batch: int = 0
    ) -> None:
        self.batch = batch
        self.model = model
        self.layer = model.get_submodule(layer)
        self.image = image
        self.weights = weights or {}
        self.calls: list[_Call] = []
        self._recording = True
        self.logits = as_logits(self._run(lazy_clone(image), self._record, self._stop), 1)

    def _run(self, images: Tensor, wrap: Wrap, hook: Callable[..., object]) -> object:
        handle = self.layer.register_forward_hook(hook)
        try:
            with patched_forward(self.model, wrap), eager(self.model):
                return functional_call(self.model, self.weights, (images,)) if self.weights else self.model(images)
        finally:
            handle.remove()

    def _stop(self, module: nn.Module, inputs: object, output: object) -> None:
        self._recording = False
        features = take_tensor(output)
        if features is None:
            raise ValueError(f"expected a layer that returns one tensor, found {type(output).__name__}; choose another")
        self.features = lazy_clone(features)

    def _record(self, module: nn.Module, forward: Forward) -> Forward:
        def record(*args: Any, **kwargs: Any) -> Any:
            if not self._recording:
                return forward(*args, **kwargs)
            earlier = len(self.calls)
            inputs = _tensors(args, kwargs)
            versions = [value._version for value in inputs]
            output = forward(*args, **kwargs)
            if self._recording:
                del self.calls[earlier:]  # what ran inside this module
                self.calls.append(_snapshot(module, inputs, versions, output))
            return output

        return record

    def __call__(self, activations: Tensor, way: Way) -> Tensor:
        """Logits ``(N, classes)`` for activations ``(N, K, *spatial of the layer)``, in one of the ways.

        Raises:
            Exception: whatever the model raises when it cannot be repeated in this way.
        """
        count = activations.shape[self.batch]
        recorded: dict[int, deque[_Call]] = {}
        for call in self.calls if way.records else []:
            recorded.setdefault(id(call.module), deque()).append(call)

        def answer(module: nn.Module, forward: Forward) -> Forward:
            calls = recorded.get(id(module))

            def forward_or_answer(*args: Any, **kwargs: Any) -> Any:
                return (
                    _answer(calls.popleft(), _tensors(args, kwargs), way.fit, count)
                    if calls
                    else forward(*args, **kwargs)
                )

            return forward if calls is None else forward_or_answer

        def give(module: nn.Module, inputs: object, output: object) -> object:
            return put_tensor(output, activations)

        return as_logits(self._run(way.fit(self.image, count), answer, give), count)


def wide_weights(model: nn.Module) -> dict[str, Tensor]:
    """Float32 copies, by name, of those parameters and buffers of a model that are of half precision.

    Example:
        >>> import torch
        >>> list(wide_weights(torch.nn.Linear(1, 1).bfloat16())), list(wide_weights(torch.nn.Linear(1, 1)))
        (['weight', 'bias'], [])
    """
    half = (torch.bfloat16, torch.float16)
    return {
        name: value.float()
        for name, value in chain(model.named_parameters(), model.named_buffers())
        if value.dtype in half
    }


@contextmanager
def patched_forward(model: nn.Module, wrap: Wrap) -> Iterator[None]:
    """Replace ``forward`` of every submodule by ``wrap(module, forward)``, and give all of them back in the end.

    Scripted modules, which call no Python, are left alone.
    """
    modules = [module for module in model.modules() if not isinstance(module, torch.jit.ScriptModule)]
    before = [module.__dict__.get("forward") for module in modules]
    try:
        for module in modules:
            module.__dict__["forward"] = wrap(module, module.forward)
        yield
    finally:
        for module, forward in zip(modules, before, strict=True):
            module.__dict__.pop("forward", None)
            if forward is not None:
                module.__dict__["forward"] = forward


def _tensors(args: object, kwargs: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]


def _snapshot(module: nn.Module, inputs: list[Tensor], versions: list[int], output: object) -> _Call:
    indices = {id(value): index for index, value in enumerate(inputs)}
    changed = {index: lazy_clone(value) for index, value in enumerate(inputs) if value._version != versions[index]}

    def keep(leaf: object) -> object:
        if not isinstance(leaf, Tensor):
            return leaf
        return _Input(indices[id(leaf)]) if id(leaf) in indices else lazy_clone(leaf)

    return _Call(module, tree_map(keep, output), changed)


def _answer(call: _Call, inputs: list[Tensor], fit: Fit, count: int) -> object:
    for index, value in call.changed.items():
        inputs[index].data = fit(value, count)

    def give(leaf: object) -> object:
        if isinstance(leaf, _Input):
            return inputs[leaf.position]
        return fit(leaf, count) if isinstance(leaf, Tensor) else leaf

    return tree_map(give, call.output, is_leaf=lambda leaf: isinstance(leaf, _Input))


def _single(value: Tensor, count: int) -> Tensor:
    return lazy_clone(value)


def _expanded(value: Tensor, count: int) -> Tensor:
    value = lazy_clone(value)
    return value.expand(count, *value.shape[1:]) if value.ndim and len(value) == 1 else value


def _copied(value: Tensor, count: int) -> Tensor:
    return torch.cat([value] * count) if value.ndim and len(value) == 1 else value.clone()


WAYS = (Way(_single, True, False), Way(_expanded, True, False), Way(_copied, True, True), Way(_copied, False, True))
