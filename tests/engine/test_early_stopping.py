from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedEvaluator

from camtools.data import SliceDataset, load_datalist
from camtools.engine import NetworkTrainer, slice_evaluator, slice_loader
from camtools.engine.early_stopping import reason_to_stop
from camtools.transforms import PrepareVolumed, ScaleSlicesd

ACCURACIES = [0.5, 0.7, 0.6, 0.7, 0.65, 0.9, 0.1, 0.2]  # by epoch


class Killed(BaseException):
    """Stands for kill -9."""


def rows(*values: float | None) -> list[dict[str, float]]:
    """One row per epoch, without the metric where the epoch was not validated."""
    history: list[dict[str, float]] = []
    for epoch, value in enumerate(values, start=1):
        history.append({"epoch": epoch} if value is None else {"epoch": epoch, "dice": value})
    return history


def test_validations_since_the_best_are_counted() -> None:
    reason = "no better dice than 0.7000 of epoch 2 in 3 validations"
    assert reason_to_stop(rows(0.5, 0.7, 0.6, 0.7, 0.65), "dice", 3) == reason
    assert reason_to_stop(rows(0.5, 0.7, 0.6, 0.7, 0.65), "dice", 4) is None
    assert reason_to_stop(rows(0.5, 0.7, 0.6, 0.7, 0.71), "dice", 1) is None
    assert reason_to_stop(rows(None, 0.7, None, 0.6, None), "dice", 2) is None
    assert "of epoch 2 in 2 validations" in str(reason_to_stop(rows(None, 0.7, None, 0.6, None, 0.7), "dice", 2))
    assert reason_to_stop([], "dice", 1) is None
    assert reason_to_stop(rows(None, None), "dice", 1) is None


def trainer(data: Path, folder: Path, patience: int | None, **options: Any) -> NetworkTrainer:
    """Training whose validations have the accuracies above."""
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(1, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 2)]
    network = torch.nn.Sequential(*layers)
    prepare = PrepareVolumed(intensity=ScaleSlicesd("image"))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    validation = SliceDataset(load_datalist(data, "validation"), prepare)
    evaluator = slice_evaluator(network, "cpu", validation)
    assert evaluator is not None

    def replace(engine: SupervisedEvaluator) -> None:
        engine.state.metrics["accuracy"] = ACCURACIES[int(run.state.epoch) - 1]

    evaluator.add_event_handler(Events.COMPLETED, replace)
    run = NetworkTrainer(
        name="test",
        device="cpu",
        network=network,
        folder=folder,
        max_epochs=len(ACCURACIES),
        train_data_loader=slice_loader(SliceDataset(load_datalist(data, "training"), prepare), batch_size=6),
        optimizer=optimizer,
        lr_scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(ACCURACIES)),
        loss_function=torch.nn.CrossEntropyLoss(),
        evaluator=evaluator,
        patience=patience,
        **options,
    )
    return run


def epochs(folder: Path) -> list[int]:
    return [row["epoch"] for row in json.loads((folder / "history.json").read_text())]


def weights(folder: Path, name: str) -> torch.Tensor:
    state = torch.load(folder / name, weights_only=True)
    return torch.cat([value.flatten() for value in state.get("network", state).values()])


@pytest.mark.parametrize(("patience", "last"), [(None, 8), (1, 3), (2, 4), (3, 5), (4, 8)])
def test_training_ends_after_validations_without_a_better_metric(
    blob_dataset: Path, tmp_path: Path, patience: int | None, last: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "camtools")
    trainer(blob_dataset, tmp_path, patience).run()
    assert epochs(tmp_path) == list(range(1, last + 1))
    assert (tmp_path / "model.pt").is_file()
    said = f"test: ends after epoch {last} of 8, no better accuracy than 0.7000 of epoch 2 in {patience} validations"
    assert (said in caplog.text) == (last < 8)
    assert ("ends after epoch" in caplog.text) == (last < 8)


def test_validations_are_counted_and_not_epochs(blob_dataset: Path, tmp_path: Path) -> None:
    trainer(blob_dataset, tmp_path, patience=1, val_interval=2).run()  # 0.7, 0.7
    assert epochs(tmp_path) == [1, 2, 3, 4]


def test_resumed_training_ends_at_the_same_epoch(blob_dataset: Path, tmp_path: Path) -> None:
    trainer(blob_dataset, tmp_path / "whole", patience=3).run()
    for epoch in (3, 4):
        run = trainer(blob_dataset, tmp_path / "parts", patience=3)

        def kill(engine: Any, killed_in: int = epoch + 1) -> None:
            if engine.state.epoch == killed_in:
                raise Killed

        run.add_event_handler(Events.ITERATION_COMPLETED, kill)
        with pytest.raises(Killed):
            run.run()
        assert epochs(tmp_path / "parts") == list(range(1, epoch + 1))
    trainer(blob_dataset, tmp_path / "parts", patience=3).run()
    assert epochs(tmp_path / "parts") == epochs(tmp_path / "whole") == [1, 2, 3, 4, 5]
    for name in ("model.pt", "checkpoint.pt"):
        assert torch.equal(weights(tmp_path / "parts", name), weights(tmp_path / "whole", name))


def test_training_that_ended_early_does_not_go_on(blob_dataset: Path, tmp_path: Path) -> None:
    trainer(blob_dataset, tmp_path, patience=2).run()
    before = weights(tmp_path, "model.pt"), weights(tmp_path, "checkpoint.pt")
    (tmp_path / "model.pt").unlink()  # as if killed before it was written
    again = trainer(blob_dataset, tmp_path, patience=2)
    iterations: list[int] = []
    again.add_event_handler(Events.ITERATION_STARTED, lambda engine: iterations.append(engine.state.iteration))
    again.run()
    assert iterations == []
    assert torch.equal(weights(tmp_path, "model.pt"), before[0])
    assert torch.equal(weights(tmp_path, "checkpoint.pt"), before[1])
    trainer(blob_dataset, tmp_path, patience=3).run()  # with more patience it does
    assert epochs(tmp_path) == [1, 2, 3, 4, 5]


def test_model_is_the_best_and_not_the_last(blob_dataset: Path, tmp_path: Path) -> None:
    trainer(blob_dataset, tmp_path / "early", patience=2).run()  # ends after epoch 4, the last of the best ones
    trainer(blob_dataset, tmp_path / "later", patience=3).run()  # ends after epoch 5
    best = weights(tmp_path / "early", "checkpoint.pt")
    assert torch.equal(weights(tmp_path / "early", "model.pt"), best)
    assert torch.equal(weights(tmp_path / "later", "model.pt"), best)
    assert not torch.equal(weights(tmp_path / "later", "checkpoint.pt"), best)


def test_patience_is_checked(blob_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Expected patience to be a number of validations, at least 1, or null, found"):
        trainer(blob_dataset, tmp_path, patience=0)
    message = r"Expected validation data for patience=3, found none\. Add validation items to dataset\.json, or set"
    with pytest.raises(ValueError, match=message):
        NetworkTrainer(device="cpu", network=torch.nn.Identity(), folder=tmp_path, patience=3)
