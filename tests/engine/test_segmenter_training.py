from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from camtools.engine import SegmenterTraining
from camtools.losses import RandomViewConsensusLoss
from tests.self_training_runs import Level, splits_of_blobs, training_of, write_labels


def test_each_training_has_its_own_optimizer_and_schedule(blob_dataset: Path, tmp_path: Path) -> None:
    splits, network = splits_of_blobs(blob_dataset), Level()
    write_labels(tmp_path / "labels", splits)
    torch.save(Level(0.7).state_dict(), tmp_path / "start.pt")
    training = training_of(network, splits)
    levels = []
    for name in ("first", "second"):
        trainer = training.trainer(tmp_path / name, tmp_path / "labels", tmp_path / "start.pt")
        assert trainer.optimizer.param_groups[0]["lr"] == 0.05
        trainer.run()
        assert trainer.optimizer.param_groups[0]["lr"] < 0.05
        levels.append(float(network.level.detach()))
    assert levels[0] == levels[1] != 0.7


def test_options_of_one_training(blob_dataset: Path, tmp_path: Path) -> None:
    splits, network = splits_of_blobs(blob_dataset), Level()
    write_labels(tmp_path / "labels", splits)
    training = training_of(network, splits)
    export = tmp_path / "models/model.pt"
    training.trainer(tmp_path / "run", tmp_path / "labels", export_path=export, max_epochs=1, name="once").run()
    written = [torch.load(path, weights_only=True) for path in (export, tmp_path / "run/model.pt")]
    assert written[0] == written[1]
    assert (tmp_path / "run/history.json").read_text().count("epoch") == 1


def test_schedule_of_every_iteration(blob_dataset: Path, tmp_path: Path) -> None:
    splits = splits_of_blobs(blob_dataset)
    write_labels(tmp_path / "labels", splits)
    training = training_of(Level(), splits)
    one_cycle = partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.5)
    shared = (training.network, training.dataset, training.loader, training.optimizer, training.make_trainer)
    cycle = SegmenterTraining(*shared, lr_scheduler=one_cycle, max_epochs=3, steps="total_steps")
    trainer = cycle.trainer(tmp_path / "run", tmp_path / "labels", lr_interval="iteration")
    assert trainer.state.max_epochs == 3
    assert trainer.lr_scheduler.total_steps == 3 * len(trainer.data_loader)
    trainer.run()
    assert trainer.lr_scheduler.last_epoch == 3 * len(trainer.data_loader)
    assert cycle.trainer(tmp_path, tmp_path / "labels", max_epochs=2).lr_scheduler.total_steps == 2 * len(
        trainer.data_loader
    )


def test_steps_need_the_number_of_epochs() -> None:
    with pytest.raises(ValueError, match="Expected max_epochs, which gives total_steps of the schedule, found None"):
        SegmenterTraining(Level(), dict, dict, dict, dict, steps="total_steps")  # type: ignore[arg-type]


def test_loss_knows_the_epoch(blob_dataset: Path, tmp_path: Path) -> None:
    splits = splits_of_blobs(blob_dataset)
    write_labels(tmp_path / "labels", splits)
    epochs = []

    class Noted(RandomViewConsensusLoss):
        def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            epochs.append(self.epoch)
            return super().forward(torch.stack([logits, logits], dim=1), labels)

    training_of(Level(), splits, epochs=3).trainer(tmp_path, tmp_path / "labels", loss_function=Noted()).run()
    assert sorted(set(epochs)) == [1, 2, 3]
    assert epochs == sorted(epochs)
