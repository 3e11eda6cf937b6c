from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ignite.engine import Events

from camtools.engine.weight_average import WeightAverage
from tests.engine.test_trainer import evaluator, network, trainer, weights


def with_buffer(value: float) -> torch.nn.Module:
    module = torch.nn.BatchNorm1d(1)
    torch.nn.init.constant_(module.weight, value)
    module.running_mean.fill_(value)
    return module


def test_average_of_weights_and_buffers_by_hand() -> None:
    module = with_buffer(0.0)
    average = WeightAverage(module, decay=0.5)
    for value in (8.0, 4.0, 2.0):  # 8, then (8 + 4) / 2 = 6, then (6 + 2) / 2 = 4
        torch.nn.init.constant_(module.weight, value)
        module.running_mean.fill_(value)
        average.update()
    assert average.weights()["weight"].item() == 4
    assert average.weights()["running_mean"].item() == 4
    assert module.weight.item() == 2


def test_applied_inside_the_context_only_also_after_an_error() -> None:
    module = with_buffer(8.0)
    average = WeightAverage(module, decay=0.5)
    average.update()
    torch.nn.init.constant_(module.weight, 2.0)
    average.update()
    with average.applied():
        assert module.weight.item() == 5
    assert module.weight.item() == 2
    with pytest.raises(KeyError), average.applied():
        raise KeyError
    assert module.weight.item() == 2


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_refused_decay(decay: float) -> None:
    with pytest.raises(ValueError, match=r"Expected averaging above 0 and below 1, found .*Give a decay such as 0.99"):
        WeightAverage(network(), decay)


def test_training_writes_the_averaged_weights(blob_dataset: Path, tmp_path: Path) -> None:
    run = trainer(blob_dataset, tmp_path, epochs=2, averaging=0.9)
    run.run()
    assert run.average is not None
    averaged = torch.cat([value.flatten() for value in run.average.weights().values()])
    own = torch.cat([value.flatten() for value in run.bare_network.state_dict().values()])
    assert torch.equal(weights(tmp_path / "model.pt"), averaged)
    assert not torch.equal(averaged, own)


def test_averaged_weights_are_validated_and_the_training_goes_on_without_them(
    blob_dataset: Path, tmp_path: Path
) -> None:
    plain = trainer(blob_dataset, tmp_path / "plain", epochs=2)
    plain.run()
    run = trainer(blob_dataset, tmp_path / "averaged", epochs=2, averaging=0.9)
    run.evaluator = evaluator(blob_dataset, run.bare_network)
    seen: list[torch.Tensor] = []
    run.evaluator.add_event_handler(Events.STARTED, lambda: seen.append(run.bare_network[0].weight.detach().clone()))
    run.run()
    assert run.average is not None
    assert torch.equal(seen[-1], run.average.weights()["0.weight"])
    assert torch.equal(run.bare_network[0].weight, plain.bare_network[0].weight)
