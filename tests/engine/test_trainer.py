from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events
from ignite.metrics import Accuracy
from monai.engines import SupervisedEvaluator
from monai.inferers import SimpleInferer
from monai.transforms import Compose, RandFlipd

from camtools.data import SliceDataset, load_datalist
from camtools.engine import NetworkTrainer, slice_loader
from camtools.networks.weights import load_weights
from camtools.transforms import LoadVolumed, ScaleSlicesd, SliceAxisLastd

PREPARE = Compose([LoadVolumed("image"), SliceAxisLastd("image"), ScaleSlicesd("image")])


class Killed(BaseException):
    """Stands for kill -9: nothing may run after it."""


def network(seed: int = 1) -> torch.nn.Module:
    torch.manual_seed(seed)
    layers = [torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.AdaptiveAvgPool2d(1)]
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(4, 2))


def trainer(
    data: Path,
    folder: Path,
    epochs: int = 4,
    lr: float = 0.1,
    start: Path | None = None,
    model: torch.nn.Module | None = None,
    **kwargs: Any,
) -> NetworkTrainer:
    model = model or network()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    transform = Compose([RandFlipd("image", prob=0.5, spatial_axis=0)])
    dataset = SliceDataset(load_datalist(data, "training"), PREPARE, transform)
    return NetworkTrainer(
        name="test",
        device="cpu",
        max_epochs=epochs,
        train_data_loader=slice_loader(dataset, batch_size=4),
        network=model,
        optimizer=optimizer,
        lr_scheduler=torch.optim.lr_scheduler.StepLR(optimizer, 2),
        loss_function=torch.nn.CrossEntropyLoss(),
        folder=folder,
        weights=[] if start is None else [(model, start)],
        **kwargs,
    )


def evaluator(data: Path, model: torch.nn.Module) -> SupervisedEvaluator:
    dataset = SliceDataset(load_datalist(data, "validation"), PREPARE)
    accuracy = Accuracy(output_transform=lambda output: (output["pred"], output["label"]))
    loader = slice_loader(dataset, batch_size=4, shuffle=False)
    return SupervisedEvaluator("cpu", loader, model, key_val_metric={"accuracy": accuracy}, decollate=False)


def weights(path: Path) -> torch.Tensor:
    state = torch.load(path, weights_only=True)
    return torch.cat([value.flatten() for value in state.values()])


def kill_after(run: NetworkTrainer, epoch: int) -> Callable[[], None]:
    def stop(engine: Any) -> None:
        if engine.state.epoch == epoch + 1 and engine.state.iteration % engine.state.epoch_length == 1:
            raise Killed

    run.add_event_handler(Events.ITERATION_COMPLETED, stop)
    return run.run


@pytest.mark.parametrize("averaging", [None, 0.9])
def test_resumed_training_equals_an_uninterrupted_one(blob_dataset: Path, tmp_path: Path, averaging: Any) -> None:
    trainer(blob_dataset, tmp_path / "whole", averaging=averaging).run()
    with pytest.raises(Killed):
        kill_after(trainer(blob_dataset, tmp_path / "parts", averaging=averaging), epoch=2)()
    assert not (tmp_path / "parts/model.pt").exists()
    trainer(blob_dataset, tmp_path / "parts", averaging=averaging).run()
    assert torch.equal(weights(tmp_path / "parts/model.pt"), weights(tmp_path / "whole/model.pt"))
    histories = [json.loads((tmp_path / name / "history.json").read_text()) for name in ("whole", "parts")]
    assert histories[0] == histories[1]
    assert [row["epoch"] for row in histories[0]] == [1, 2, 3, 4]


def test_finished_training_run_again_changes_nothing(blob_dataset: Path, tmp_path: Path) -> None:
    trainer(blob_dataset, tmp_path, epochs=2).run()
    before = weights(tmp_path / "model.pt")
    trainer(blob_dataset, tmp_path, epochs=2).run()
    assert torch.equal(weights(tmp_path / "model.pt"), before)


@pytest.mark.parametrize(
    ("scores", "best"), [([0.2, 0.9, 0.5], 2), ([0.9, 0.9, 0.5], 2), ([1.0, 1.0, 1.0], 3), ([0.0, math.nan, 0.0], 3)]
)
def test_best_epoch_is_kept_and_exported(blob_dataset: Path, tmp_path: Path, scores: list[float], best: int) -> None:
    run = trainer(blob_dataset, tmp_path / "run", epochs=3, export_path=tmp_path / "models/model.pt")
    run.evaluator = evaluator(blob_dataset, run.bare_network)

    def score(engine: SupervisedEvaluator) -> None:
        engine.state.metrics["accuracy"] = scores[run.state.epoch - 1]

    run.evaluator.add_event_handler(Events.COMPLETED, score)
    seen: dict[int, torch.Tensor] = {}

    def remember(engine: NetworkTrainer) -> None:
        seen[engine.state.epoch] = torch.cat([value.flatten() for value in engine.bare_network.state_dict().values()])

    run.add_event_handler(Events.EPOCH_COMPLETED, remember)
    run.run()
    history = json.loads((tmp_path / "run/history.json").read_text())
    assert [row["accuracy"] for row in history] == pytest.approx(scores, nan_ok=True)
    torch.testing.assert_close(weights(tmp_path / "run/model.pt"), seen[best])
    assert torch.equal(weights(tmp_path / "models/model.pt"), weights(tmp_path / "run/model.pt"))
    assert any((tmp_path / "run/tensorboard").iterdir())


def test_loss_that_is_not_finite_stops_with_advice(blob_dataset: Path, tmp_path: Path) -> None:
    run = trainer(blob_dataset, tmp_path)
    run.loss_function = lambda pred, label: pred.sum() * math.nan
    with pytest.raises(RuntimeError, match=r"test: expected a finite loss, found nan in epoch 1. Lower"):
        run.run()
    assert not (tmp_path / "checkpoint.pt").exists()


def test_training_starts_from_given_weights(blob_dataset: Path, tmp_path: Path) -> None:
    start = tmp_path / "start.pt"
    torch.save(network(seed=2).state_dict(), start)
    trainer(blob_dataset, tmp_path / "run", epochs=1, lr=0.0, start=start).run()
    assert torch.equal(weights(tmp_path / "run/model.pt"), weights(start))
    assert not torch.equal(torch.cat([value.flatten() for value in network().state_dict().values()]), weights(start))


def test_resumed_training_does_not_start_from_given_weights_again(blob_dataset: Path, tmp_path: Path) -> None:
    start = tmp_path / "start.pt"
    torch.save(network(seed=2).state_dict(), start)
    trainer(blob_dataset, tmp_path / "whole", start=start).run()
    with pytest.raises(Killed):
        kill_after(trainer(blob_dataset, tmp_path / "parts", start=start), epoch=2)()
    start.unlink()
    trainer(blob_dataset, tmp_path / "parts", start=start).run()
    assert torch.equal(weights(tmp_path / "parts/model.pt"), weights(tmp_path / "whole/model.pt"))


def test_missing_weights_are_named_before_training(blob_dataset: Path, tmp_path: Path) -> None:
    message = r"test: expected trained weights at .*nothing\.pt, found no such file\. Train first \(python -m monai"
    run = trainer(blob_dataset, tmp_path / "run", start=tmp_path / "nothing.pt")
    with pytest.raises(FileNotFoundError, match=message):
        run.run()
    assert run.state.iteration == 0


def test_several_networks_are_loaded(tmp_path: Path) -> None:
    torch.save(network(seed=2).state_dict(), tmp_path / "a.pt")
    torch.save(network(seed=3).state_dict(), tmp_path / "b.pt")
    networks = [network(), network()]
    load_weights("test", zip(networks, (tmp_path / "a.pt", str(tmp_path / "b.pt")), strict=True))
    for loaded, seed in zip(networks, (2, 3), strict=True):
        assert torch.equal(loaded[0].weight, network(seed)[0].weight)


@pytest.mark.usefixtures("bfloat16_in_hardware")
def test_mixed_precision_on_a_cpu_trains_in_bfloat16(blob_dataset: Path, tmp_path: Path) -> None:
    trainer(blob_dataset, tmp_path / "full", epochs=2).run()
    half = trainer(blob_dataset, tmp_path / "half", epochs=2, amp=True)
    inner: list[torch.dtype] = []
    half.bare_network[0].register_forward_hook(lambda module, inputs, output: inner.append(output.dtype))
    outputs: list[torch.Tensor] = []
    half.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: outputs.append(engine.state.output["pred"]))
    half.run()
    assert set(inner) == {torch.bfloat16}
    assert {output.dtype for output in outputs} == {torch.float32}
    assert {parameter.dtype for parameter in half.bare_network.parameters()} == {torch.float32}
    full_weights, half_weights = (weights(tmp_path / name / "model.pt") for name in ("full", "half"))
    start = torch.cat([value.flatten() for value in network().state_dict().values()])
    assert not torch.equal(half_weights, full_weights)
    assert (half_weights - full_weights).norm() < 0.1 * (full_weights - start).norm()


def test_mixed_precision_on_a_cpu_without_bfloat16_is_full_precision(
    blob_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("camtools.precision.computes_in", lambda dtype, device: False)
    for amp in (True, False):
        model = network()
        trainer(blob_dataset, tmp_path / str(amp), model=model, amp=amp, evaluator=evaluator(blob_dataset, model)).run()
    assert torch.equal(weights(tmp_path / "True/model.pt"), weights(tmp_path / "False/model.pt"))


@pytest.mark.usefixtures("bfloat16_in_hardware")
def test_mixed_precision_on_a_cpu_validates_in_bfloat16(blob_dataset: Path, tmp_path: Path) -> None:
    model = network()
    inner: list[torch.dtype] = []
    model[0].register_forward_hook(lambda module, inputs, out: None if model.training else inner.append(out.dtype))
    for amp in (True, False):
        run = trainer(blob_dataset, tmp_path / str(amp), epochs=1, amp=amp, evaluator=evaluator(blob_dataset, model))
        run.network.load_state_dict(model.state_dict())
        run.run()
        assert run.evaluator.state.output["pred"].dtype == torch.float32
    assert sorted(map(str, set(inner))) == ["torch.bfloat16", "torch.float32"]


@pytest.mark.parametrize("channels_last", [True, False])
def test_memory_format_changes_rounding_alone(blob_dataset: Path, tmp_path: Path, channels_last: bool) -> None:
    def wide(seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        layers = [torch.nn.Conv2d(1, 4, 3), torch.nn.Conv2d(4, 6, 3), torch.nn.AdaptiveAvgPool2d(1)]
        return torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(6, 2))

    def start(name: str, channels_last: bool | None) -> NetworkTrainer:
        run = trainer(blob_dataset, tmp_path / name, model=wide(1), channels_last=channels_last)
        expected = channels_last is True
        assert run.network[1].weight.is_contiguous(memory_format=torch.channels_last) == expected
        return run

    whole = start("whole", None)
    whole.run()
    with pytest.raises(Killed):
        kill_after(start("parts", channels_last), epoch=2)()
    switched = start("parts", not channels_last)  # goes on from a checkpoint of the other format
    switched.run()
    assert switched.network[1].weight.is_contiguous(memory_format=torch.channels_last) != channels_last
    momentum = switched.optimizer.state[switched.network[1].weight]["momentum_buffer"]
    assert momentum.abs().max() > 0
    torch.testing.assert_close(weights(tmp_path / "parts/model.pt"), weights(tmp_path / "whole/model.pt"))
    start_weights = torch.cat([value.flatten() for value in wide(1).state_dict().values()])
    assert not torch.allclose(weights(tmp_path / "whole/model.pt"), start_weights, atol=1e-3)
    wide(2).load_state_dict(torch.load(tmp_path / "parts/model.pt", weights_only=True))


class Doubled(SimpleInferer):
    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        return 2 * super().__call__(inputs, network, *args, **kwargs)


@pytest.mark.parametrize("amp", [False, True])
def test_trainer_runs_the_network_with_the_inferer_given(blob_dataset: Path, tmp_path: Path, amp: bool) -> None:
    run = trainer(blob_dataset, tmp_path, epochs=1, lr=0.0, amp=amp, inferer=Doubled())
    outputs: list[torch.Tensor] = []  # by turns of the network and of the inferer
    run.bare_network.register_forward_hook(lambda module, inputs, output: outputs.append(output.detach().float()))
    run.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: outputs.append(engine.state.output["pred"]))
    run.run()
    for plain, used in zip(outputs[::2], outputs[1::2], strict=True):
        torch.testing.assert_close(used, 2 * plain)


def test_rate_changes_every_iteration_also_after_a_kill(blob_dataset: Path, tmp_path: Path) -> None:
    rates: dict[str, list[float]] = {"whole": [], "parts": []}

    def start(name: str) -> NetworkTrainer:
        run = trainer(blob_dataset, tmp_path / name, lr_interval="iteration")
        iterations = 4 * run.state.epoch_length
        run.lr_scheduler = torch.optim.lr_scheduler.PolynomialLR(run.optimizer, iterations, power=0.9)
        run.add_event_handler(Events.ITERATION_STARTED, lambda: rates[name].append(run.optimizer.param_groups[0]["lr"]))
        return run

    start("whole").run()
    with pytest.raises(Killed):
        kill_after(start("parts"), epoch=2)()
    rates["parts"].pop()  # the iteration that was killed is done again
    start("parts").run()
    count = len(rates["whole"])
    assert count > 4
    np.testing.assert_allclose(rates["whole"], [0.1 * (1 - step / count) ** 0.9 for step in range(count)])
    np.testing.assert_allclose(rates["parts"], rates["whole"])
    assert torch.equal(weights(tmp_path / "parts/model.pt"), weights(tmp_path / "whole/model.pt"))


def test_unknown_interval_is_refused(blob_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Expected lr_interval to be 'epoch' or 'iteration', found 'step'"):
        trainer(blob_dataset, tmp_path, lr_interval="step")


@pytest.mark.parametrize("damage", ["empty", "half", "text", "another"])
def test_damaged_checkpoint_is_named_and_the_training_begins_again(
    blob_dataset: Path, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    trainer(blob_dataset, tmp_path / "whole", epochs=2).run()
    trainer(blob_dataset, tmp_path / "parts", epochs=1).run()
    path = tmp_path / "parts/checkpoint.pt"
    if damage == "another":
        torch.save({"network": {}}, path)
    else:
        path.write_bytes({"empty": b"", "half": path.read_bytes()[:2000], "text": b"text"}[damage])
    trainer(blob_dataset, tmp_path / "parts", epochs=2).run()
    assert f"test: {path} is damaged (" in caplog.text
    assert torch.equal(weights(tmp_path / "parts/model.pt"), weights(tmp_path / "whole/model.pt"))
