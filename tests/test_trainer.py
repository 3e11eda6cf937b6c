from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from ignite.metrics import Accuracy
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose, RandFlipd

from camtools.data import SliceDataset, load_datalist
from camtools.engine import NetworkTrainer, slice_loader
from camtools.transforms import LoadVolumed, ScaleSlicesd, SliceAxisLastd

PREPARE = Compose([LoadVolumed("image"), SliceAxisLastd("image"), ScaleSlicesd("image")])


class Killed(BaseException):
    """Stands for kill -9: nothing may run after it."""


def network() -> torch.nn.Module:
    torch.manual_seed(1)
    layers = [torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.AdaptiveAvgPool2d(1)]
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(4, 2))


def trainer(data: Path, save_dir: Path, epochs: int = 4, lr: float = 0.1, **kwargs: Any) -> NetworkTrainer:
    model = network()
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
        save_dir=save_dir,
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


def test_resumed_training_equals_an_uninterrupted_one(blob_dataset: Path, tmp_path: Path) -> None:
    trainer(blob_dataset, tmp_path / "whole").run()
    with pytest.raises(Killed):
        kill_after(trainer(blob_dataset, tmp_path / "parts"), epoch=2)()
    assert not (tmp_path / "parts/model.pt").exists()
    trainer(blob_dataset, tmp_path / "parts").run()
    assert torch.equal(weights(tmp_path / "parts/model.pt"), weights(tmp_path / "whole/model.pt"))
    histories = [json.loads((tmp_path / name / "history.json").read_text()) for name in ("whole", "parts")]
    assert histories[0] == histories[1]
    assert [row["epoch"] for row in histories[0]] == [1, 2, 3, 4]


def test_finished_training_run_again_changes_nothing(blob_dataset: Path, tmp_path: Path) -> None:
    trainer(blob_dataset, tmp_path, epochs=2).run()
    before = weights(tmp_path / "model.pt")
    trainer(blob_dataset, tmp_path, epochs=2).run()
    assert torch.equal(weights(tmp_path / "model.pt"), before)


def test_best_epoch_is_kept_and_exported(blob_dataset: Path, tmp_path: Path) -> None:
    run = trainer(blob_dataset, tmp_path / "run", epochs=3, export_path=tmp_path / "models/model.pt")
    run.evaluator = evaluator(blob_dataset, run.bare_network)
    seen: dict[int, torch.Tensor] = {}

    def remember(engine: NetworkTrainer) -> None:
        seen[engine.state.epoch] = torch.cat([value.flatten() for value in engine.bare_network.state_dict().values()])

    run.add_event_handler(Events.EPOCH_COMPLETED, remember)
    run.run()
    history = json.loads((tmp_path / "run/history.json").read_text())
    best = max(history, key=lambda row: row["accuracy"])["epoch"]
    torch.testing.assert_close(weights(tmp_path / "run/model.pt"), seen[best])
    assert torch.equal(weights(tmp_path / "models/model.pt"), weights(tmp_path / "run/model.pt"))
    assert any((tmp_path / "run/tensorboard").iterdir())


def test_loss_that_is_not_finite_stops_with_advice(blob_dataset: Path, tmp_path: Path) -> None:
    run = trainer(blob_dataset, tmp_path)
    run.loss_function = lambda pred, label: pred.sum() * math.nan
    with pytest.raises(RuntimeError, match=r"test: the loss of epoch 1 is nan. Lower the learning rate"):
        run.run()
    assert not (tmp_path / "checkpoint.pt").exists()
