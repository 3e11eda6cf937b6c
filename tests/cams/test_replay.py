from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from camtools.cams import AblationCAM
from camtools.cams.replay import WAYS, Replay, Way, patched_forward, wide_weights
from tests.reference.perturbation_maps import reference_ablation_cam
from tests.replay_models import (
    CalledTwice,
    Concatenated,
    Downsampled,
    Foreign,
    Functional,
    InPlaceAlias,
    Nested,
    NoBatch,
    Scripted,
    Skip,
    SkipInPlace,
    Small,
    Squeeze,
    Tuples,
)

SINGLE, EXPANDED, COPIED, WHOLE = WAYS


@pytest.fixture
def image() -> Tensor:
    return torch.rand(1, 2, 8, 10, dtype=torch.float64)


MODELS = {
    Small: SINGLE,
    Skip: SINGLE,
    Downsampled: SINGLE,
    SkipInPlace: COPIED,
    Concatenated: EXPANDED,
    CalledTwice: SINGLE,
    Functional: SINGLE,
    InPlaceAlias: SINGLE,
    Tuples: SINGLE,
    Squeeze: EXPANDED,
    Nested: SINGLE,
    Scripted: SINGLE,
    NoBatch: SINGLE,
    Foreign: WHOLE,
}


def make(kind: type[Small]) -> Small:
    return kind().double().eval()


def changed(replay: Replay) -> Tensor:
    """Activations of the layer, unchanged and with one channel zero, then the other."""
    activations = replay.features.repeat(3, 1, 1, 1)
    activations[1, 0] = activations[2, 1] = 0
    return activations


@torch.no_grad()
def attempt(replay: Replay, activations: Tensor, way: Way) -> Tensor | None:
    try:
        return replay(activations, way)
    except RuntimeError:
        return None


@pytest.mark.parametrize("kind", MODELS)
@torch.no_grad()
def test_every_way_equals_running_the_whole_model(kind, image):
    model = make(kind)
    layer = "one.1.one" if kind is Nested else "one"
    replay = Replay(model, layer, image)
    activations = changed(replay)
    torch.testing.assert_close(replay.logits, model(image.clone()))
    handle = model.get_submodule(layer).register_forward_hook(lambda module, inputs, output: activations.clone())
    expected = model(image.repeat(3, 1, 1, 1))
    handle.remove()
    assert not torch.allclose(expected[1], expected[2])
    for _ in range(2):  # a pass leaves the record as it was
        found = [attempt(replay, activations.clone(), way) for way in WAYS]
        first = next(way for way, logits in zip(WAYS, found, strict=True) if logits is not None)
        assert first is MODELS[kind]
        assert found[-1] is not None
        for logits in found:
            if logits is not None:
                torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_ablation_cam_matches_reference(kind, batch_size, image):
    model = make(kind)
    layer = "one.1.one" if kind is Nested else "one"
    expected = torch.stack([reference_ablation_cam(model, layer, image[0], target) for target in range(3)])
    maps = AblationCAM(model, [layer], batch_size)(image.repeat(3, 1, 1, 1), target=torch.arange(3))
    torch.testing.assert_close(maps[:, 0], expected.float(), rtol=1e-5, atol=1e-7)
    assert maps.any()


@torch.no_grad()
def test_modules_before_the_layer_do_not_run_again(image):
    model = make(CalledTwice)
    replay = Replay(model, "one", image)
    calls: list[str] = []
    for name in ("stem", "one", "two"):
        module = model.get_submodule(name)
        monitored = module._conv_forward
        module._conv_forward = lambda *args, name=name, run=monitored: calls.append(name) or run(*args)
    replay(changed(replay), SINGLE)
    assert calls == ["two", "two"]
    calls.clear()
    replay(changed(replay), WHOLE)
    assert calls == ["stem", "two", "two", "one", "two", "two"]


@torch.no_grad()
def test_outermost_modules_answer_for_those_inside(image):
    model = make(Nested)
    replay = Replay(model, "one.1.two", image)
    names = {id(module): name for name, module in model.named_modules()}
    called = [names[id(call.module)] for call in replay.calls]
    assert called == ["stem", "relu", "one.0", "one.1.one", "one.1.relu", "one.1.two"]


class Wrong(Small):
    """Gives other logits, and no error, when answers keep the batch size of 1."""

    def body(self, features: Tensor) -> Tensor:
        out = self.one(features)
        return self.two(out * len(out) / len(features))


def test_a_way_that_gives_other_logits_is_not_taken(image, monkeypatch):
    model = make(Wrong)
    expected = reference_ablation_cam(model, "one", image[0], 1)
    tried, call = [], Replay.__call__
    monkeypatch.setattr(Replay, "__call__", lambda self, *args: tried.append(args[1]) or call(self, *args))
    maps = AblationCAM(model, ["one"])(image, target=1)
    torch.testing.assert_close(maps[0, 0], expected.float(), rtol=1e-5, atol=1e-7)
    assert tried == [SINGLE, EXPANDED]


def test_user_hooks_run_once_for_each_output(image):
    model = make(Skip)
    model.stem.register_forward_hook(lambda module, inputs, output: output * 3)
    model.one.register_forward_hook(lambda module, inputs, output: output - 1)
    expected = reference_ablation_cam(model, "one", image[0], 1)
    maps = AblationCAM(model, ["one"])(image, target=1)
    torch.testing.assert_close(maps[0, 0], expected.float(), rtol=1e-5, atol=1e-7)


class Breaks(Small):
    def body(self, features: Tensor) -> Tensor:
        features = self.one(features)
        if len(features) > 1:
            raise RuntimeError("too many")
        return self.two(features)


def test_model_is_given_back_also_when_it_raises(image):
    model = make(Breaks)
    own = model.two.forward
    model.two.forward = lambda features: own(features)
    patched = model.two.forward
    before = [dict(module.__dict__) for module in model.modules()]
    hooks = [len(module._forward_hooks) for module in model.modules()]
    with pytest.raises(RuntimeError, match="too many"):
        AblationCAM(model, ["one"], batch_size=9)(image, target=1)
    with pytest.raises(RuntimeError, match="too many"):
        Replay(model, "one", image.repeat(2, 1, 1, 1))
    assert [dict(module.__dict__) for module in model.modules()] == before
    assert [len(module._forward_hooks) for module in model.modules()] == hooks
    assert model.two.forward is patched
    AblationCAM(model, ["one"], batch_size=1)(image, target=1)
    assert [dict(module.__dict__) for module in model.modules()] == before


def test_patched_forward_leaves_scripted_modules_alone(image):
    model = make(Scripted)
    seen = []
    with patched_forward(model, lambda module, forward: seen.append(module) or forward):
        assert "forward" in model.one.__dict__
    assert "forward" not in model.one.__dict__
    assert model.stem not in seen
    assert seen == [model, model.one, model.two, model.relu, model.drop, model.head]


def test_wide_weights_are_those_of_half_precision():
    model = nn.Sequential(nn.Linear(2, 2).bfloat16(), nn.BatchNorm1d(2), nn.Linear(2, 2).half())
    wide = wide_weights(model)
    assert sorted(wide) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    torch.testing.assert_close(wide["0.weight"], model[0].weight.float(), rtol=0, atol=0)
    assert wide_weights(nn.Linear(2, 2).double()) == {}


@torch.no_grad()
def test_replay_with_other_weights(image):
    model = make(Skip).bfloat16()
    twin = make(Skip).double()
    twin.load_state_dict(model.state_dict())
    replay = Replay(model, "one", image.float(), wide_weights(model))
    expected = Replay(twin, "one", image)
    assert replay.features.dtype == torch.float32
    torch.testing.assert_close(
        replay(changed(replay), SINGLE).double(), expected(changed(expected), SINGLE), rtol=1e-4, atol=1e-5
    )
    assert model.stem.weight.dtype == torch.bfloat16
