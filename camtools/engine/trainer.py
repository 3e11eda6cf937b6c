"""Training of one network: MONAI's trainer with checkpoints, validation, curves and a progress bar."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import ignite.distributed as idist
import torch
from ignite.engine import Events
from ignite.handlers import ProgressBar
from ignite.metrics import Average
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import TensorBoardStatsHandler
from monai.inferers import Inferer
from torch.nn.parallel import DistributedDataParallel

from camtools.data.files import atomic_save, write_json
from camtools.data.samples import VolumeSamples
from camtools.engine.checkpoints import read_checkpoint
from camtools.engine.early_stopping import check_patience, reason_to_stop
from camtools.engine.inferers import HalfPrecisionInferer
from camtools.engine.loading import PrepareBatch, prepare_volumes, set_epoch
from camtools.engine.run_locks import export_lock
from camtools.engine.weight_average import WeightAverage
from camtools.losses.epochs import set_loss_epoch
from camtools.networks import place_network
from camtools.networks.weight_settings import with_settings
from camtools.networks.weights import load_weights
from camtools.precision import usable_dtype

__all__ = ["NetworkTrainer"]

logger = logging.getLogger("camtools")

UPDATES = 50  # of the progress bar per epoch


class NetworkTrainer(SupervisedTrainer):
    """``monai.engines.SupervisedTrainer`` that can be killed at any time.

    After every epoch, ``folder/checkpoint.pt`` holds the state of network, optimizer and schedule, and :meth:`run`
    continues from it. If it is damaged, the training starts again, with a warning. Seed and epoch fix all random draws,
    so a resumed training ends with the same weights as an uninterrupted one. ``folder/model.pt`` holds the weights of
    the epoch with the best key metric of ``evaluator`` (without an evaluator, of the last epoch). Of epochs with equal
    metrics, the last one is kept, since the schedule has lowered its learning rate most. ``history.json`` holds the
    curves, and ``tensorboard/`` the same values as scalars.

    Args:
        device: where to train.
        network: network to train. It is wrapped if there are several processes.
        folder: folder of the files named above.
        lr_scheduler: stepped after every epoch, or every iteration.
        evaluator: runs every ``val_interval`` epochs and after the last. A higher key metric must be better.
        val_interval: epochs between validations.
        patience: validations without a better key metric after which the training ends; None: it never ends early.
            ``lr_scheduler`` still spans ``max_epochs``, so an early end leaves out its last, smallest rates.
        lr_interval: ``"epoch"`` or ``"iteration"``: when ``lr_scheduler`` is stepped.
        export_path: path of a second copy of the final weights, such as the bundle's ``models/model.pt``.
        seed: seed of the random draws.
        weights: pairs of a network and its file of weights, loaded before the first epoch.
        averaging: decay of a moving average of the weights, such as 0.99, see ``WeightAverage``. The averaged
            weights are validated and written. None: the weights themselves.
        amp: mixed precision of training and validation: float16 with scaled gradients on a GPU, bfloat16 on a CPU that
            computes in it (:func:`camtools.precision.computes_in`), float32 on any other CPU.
        channels_last: memory format of the weights, see :func:`camtools.networks.place_network`.
        find_unused_parameters: True if there are several processes and some parameters do not affect the loss.
        name: shown in the progress bar. A stage sets it to its own name.
        **supervised: more arguments of MONAI's trainer: ``max_epochs``, ``train_data_loader`` (batches of ``image`` and
            ``label``), ``optimizer``, ``loss_function``, and optionally ``inferer`` and ``train_handlers``.

    Raises:
        ValueError: ``lr_interval`` or ``patience`` has another value, or ``patience`` is given without an evaluator.
        RuntimeError: the loss is not finite.
    """

    model_settings: dict[str, Any] | None = None  # of the run, written with the weights; a stage sets them

    def __init__(
        self,
        device: torch.device | str,
        network: torch.nn.Module,
        folder: str | Path,
        lr_scheduler: Any = None,
        evaluator: SupervisedEvaluator | None = None,
        val_interval: int = 1,
        patience: int | None = None,
        lr_interval: Literal["epoch", "iteration"] = "epoch",
        export_path: str | Path | None = None,
        seed: int = 0,
        weights: Sequence[tuple[torch.nn.Module, str | Path]] = (),
        averaging: float | None = None,
        amp: bool = False,
        channels_last: bool | None = None,
        find_unused_parameters: bool = False,
        name: str = "train",
        **supervised: Any,
    ) -> None:
        _check_interval(lr_interval)
        check_patience(patience, validated=evaluator is not None)
        self.name = name
        self.folder = Path(folder)
        self.export_path = export_path
        self.bare_network = place_network(network, device, channels_last)
        self.average = None if averaging is None else WeightAverage(self.bare_network, averaging)
        self.lr_scheduler = lr_scheduler
        self.evaluator = evaluator
        self.val_interval = val_interval
        self.patience = patience
        self.lr_interval = lr_interval
        self.seed = seed
        self.weights = list(weights)
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Any] = {"metric": -math.inf, "weights": None}
        network = _distributed(network, find_unused_parameters)
        supervised = _supervised(supervised, amp, torch.device(device), evaluator)
        super().__init__(device=device, network=network, decollate=False, **supervised)
        self._attach_handlers()

    @property
    def checkpoint_path(self) -> Path:
        """File of the state after the last finished epoch."""
        return self.folder / "checkpoint.pt"

    @property
    def model_path(self) -> Path:
        """File of the final weights."""
        return self.folder / "model.pt"

    def run(self) -> None:
        """Train to the last epoch, from the checkpoint if there is one, and write the final weights.

        Raises:
            FolderInUseError: another run uses the folder of ``export_path``.
        """
        self._show_progress()
        with export_lock(self.export_path):
            super().run()
            if idist.get_rank() == 0:
                weights = with_settings(self.best["weights"] or self._weights(), self.model_settings)
                atomic_save(weights, self.model_path)
                if self.export_path is not None:
                    atomic_save(weights, self.export_path)
            idist.barrier()

    def _attach_handlers(self) -> None:
        loss = Average(output_transform=lambda output: output["loss"].detach().float(), device=self.state.device)
        loss.attach(self, "loss")
        self.add_event_handler(Events.STARTED, NetworkTrainer._prepare)
        self.add_event_handler(Events.STARTED, NetworkTrainer._resume)
        self.add_event_handler(Events.EPOCH_STARTED, NetworkTrainer._fix_random_draws)
        if self.average is not None:
            self.add_event_handler(Events.ITERATION_COMPLETED, lambda: self.average.update())
        if self.lr_scheduler is not None and self.lr_interval == "iteration":
            self.add_event_handler(Events.ITERATION_COMPLETED, lambda: self.lr_scheduler.step())
        self.add_event_handler(Events.EPOCH_COMPLETED, NetworkTrainer._finish_epoch)
        if self.patience is not None:
            self.add_event_handler(Events.STARTED | Events.EPOCH_COMPLETED, NetworkTrainer._stop_early, self.patience)

    def _weights(self) -> dict[str, torch.Tensor]:
        """The weights that are validated and written: the averaged ones, if there are."""
        return dict(self.bare_network.state_dict()) if self.average is None else self.average.weights()

    def _show_progress(self) -> None:
        if idist.get_rank() != 0:
            return
        if sys.stderr.isatty():
            # Reading the loss waits for the device, so the bar does it only some times per epoch.
            every = max(self.state.epoch_length // UPDATES, 1)
            ProgressBar(desc=self.name, persist=False).attach(
                self,
                event_name=Events.ITERATION_COMPLETED(every=every),
                output_transform=lambda output: {"loss": float(output["loss"].detach())},
            )
        TensorBoardStatsHandler(
            log_dir=str(self.folder / "tensorboard"),
            iteration_log=False,
            epoch_event_writer=lambda engine, writer: [
                writer.add_scalar(key, value, engine.state.epoch)
                for key, value in self.history[-1].items()
                if key != "epoch"
            ],
        ).attach(self)

    def _prepare(self) -> None:
        """Prepare the volumes of training and validation before the first epoch that is left."""
        loaders = [self.data_loader, getattr(self.evaluator, "data_loader", None)]
        datasets = [loader.dataset for loader in loaders if loader is not None]
        prepare_volumes([dataset for dataset in datasets if isinstance(dataset, VolumeSamples)], self.name)

    def _resume(self) -> None:
        state = read_checkpoint(self.name, self.checkpoint_path, self.state.device)
        if state is None:
            load_weights(self.name, self.weights)
            return
        self.bare_network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if self.lr_scheduler is not None:
            self.lr_scheduler.load_state_dict(state["lr_scheduler"])
        if self.scaler is not None and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        self.history, self.best = state["history"], state["best"]
        self.state.epoch = state["epoch"]
        self.state.iteration = state["epoch"] * self.state.epoch_length
        logger.info("%s: resumed after epoch %d of %d", self.name, self.state.epoch, self.state.max_epochs)

    def _fix_random_draws(self) -> None:
        torch.manual_seed(self.seed + 1000 * self.state.epoch + idist.get_rank())
        set_epoch(self.data_loader, self.state.epoch, self.seed)
        set_loss_epoch(self.loss_function, self.state.epoch)

    def _finish_epoch(self) -> None:
        row = {"epoch": self.state.epoch, "loss": float(self.state.metrics["loss"])}
        if not math.isfinite(row["loss"]):
            raise RuntimeError(
                f"{self.name}: expected a finite loss, found {row['loss']} in epoch {self.state.epoch}. Lower the "
                f"learning rate. The last valid state is {self.checkpoint_path}."
            )
        last = self.state.epoch == self.state.max_epochs
        if self.evaluator is not None and (last or self.state.epoch % self.val_interval == 0):
            row |= self._validate(self.evaluator)
        if self.lr_scheduler is not None and self.lr_interval == "epoch":
            self.lr_scheduler.step()
        self.history.append(row)
        shown = ", ".join(f"{key} {value:.4f}" for key, value in row.items() if key != "epoch")
        logger.info("%s: epoch %d of %d, %s", self.name, self.state.epoch, self.state.max_epochs, shown)
        if idist.get_rank() == 0:
            self._save()

    def _stop_early(self, patience: int) -> None:
        metric = "" if self.evaluator is None else self.evaluator.state.key_metric_name
        reason = reason_to_stop(self.history, metric, patience)
        if reason is not None and self.state.epoch < self.state.max_epochs:
            logger.info("%s: ends after epoch %d of %d, %s", self.name, self.state.epoch, self.state.max_epochs, reason)
            self.terminate()

    def _validate(self, evaluator: SupervisedEvaluator) -> dict[str, float]:
        with nullcontext() if self.average is None else self.average.applied():
            evaluator.run(self.state.epoch)
        metrics = {key: float(value) for key, value in evaluator.state.metrics.items()}
        key_metric = metrics[evaluator.state.key_metric_name]
        if key_metric >= self.best["metric"]:
            weights = {key: value.detach().clone() for key, value in self._weights().items()}
            self.best = {"metric": key_metric, "weights": weights}
        return metrics

    def _save(self) -> None:
        state = {
            "network": self.bare_network.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "lr_scheduler": self.lr_scheduler.state_dict() if self.lr_scheduler is not None else None,
            "scaler": self.scaler.state_dict() if self.scaler is not None else None,
            "epoch": self.state.epoch,
            "history": self.history,
            "best": self.best,
        }
        atomic_save(state, self.checkpoint_path)
        write_json(self.history, self.folder / "history.json")


def _check_interval(lr_interval: str) -> None:
    if lr_interval not in ("epoch", "iteration"):
        raise ValueError(f"Expected lr_interval to be 'epoch' or 'iteration', found {lr_interval!r}.")


def _supervised(
    given: dict[str, Any], amp: bool, device: torch.device, evaluator: SupervisedEvaluator | None
) -> dict[str, Any]:
    """Arguments of MONAI's trainer, with augmented batches and the precision, which is also set for validation."""
    if amp and evaluator is not None:
        vars(evaluator).update(_precision(amp, device, evaluator.inferer))
    augmentation = getattr(given["train_data_loader"].dataset, "augmentation", None)
    batches = {"prepare_batch": PrepareBatch(augmentation), "non_blocking": True}
    return batches | given | _precision(amp, device, given.get("inferer"))


def _precision(amp: bool, device: torch.device, inferer: Inferer | None) -> dict[str, Any]:
    """Arguments for mixed precision. MONAI supports it only on GPUs, so on a CPU an inferer does it."""
    if not amp or device.type != "cpu":
        return {"amp": amp, "inferer": inferer}
    if usable_dtype(torch.bfloat16, device) is None:
        return {"amp": False, "inferer": inferer}
    return {"amp": False, "inferer": HalfPrecisionInferer(inferer)}


def _distributed(network: torch.nn.Module, find_unused_parameters: bool) -> torch.nn.Module:
    if idist.get_world_size() == 1:
        return network
    wrapped: torch.nn.Module = DistributedDataParallel(network, find_unused_parameters=find_unused_parameters)
    return wrapped
