"""The training of a segmenter on a folder of pseudo-labels, which can be started again with other labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from camtools.engine.trainer import NetworkTrainer

__all__ = ["SegmenterTraining"]


class SegmenterTraining:
    """What the trainings of one segmenter share. Each call of :meth:`trainer` makes one training.

    In YAML, all arguments but the network are components with ``_mode_: callable``: their arguments are given, and each
    training makes its own. Rounds of a self-training (:class:`camtools.engine.SelfTraining`) then start with a new
    optimizer and a new schedule, and only the network is shared, also with the evaluator.

    Args:
        network: segmenter ``(B, C, H, W) -> (B, K, H, W)``.
        dataset: :class:`camtools.data.SliceDataset`; it is called with ``pseudo_label_dir``.
        loader: :func:`camtools.engine.slice_loader`; it is called with ``dataset``.
        optimizer: such as ``torch.optim.AdamW``; it is called with the trained ``params``.
        trainer: :class:`camtools.engine.NetworkTrainer`, with ``max_epochs``, ``loss_function`` and, optionally,
            ``inferer`` and ``evaluator``; it is called with everything else.
        lr_scheduler: such as ``torch.optim.lr_scheduler.CosineAnnealingLR``; it is called with ``optimizer``.
        max_epochs: of a training; None: as ``trainer`` has it.
        steps: name of the argument of ``lr_scheduler`` that gets the number of iterations of a training, such as
            ``total_steps`` of ``OneCycleLR``; it needs ``max_epochs``.

    Raises:
        ValueError: ``steps`` without ``max_epochs``.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        dataset: Callable[..., Any],
        loader: Callable[..., Any],
        optimizer: Callable[..., Any],
        trainer: Callable[..., NetworkTrainer],
        lr_scheduler: Callable[..., Any] | None = None,
        max_epochs: int | None = None,
        steps: str | None = None,
    ) -> None:
        if steps is not None and max_epochs is None:
            raise ValueError(f"Expected max_epochs, which gives {steps} of the schedule, found None. Give max_epochs.")
        self.network = network
        self.dataset = dataset
        self.loader = loader
        self.optimizer = optimizer
        self.make_trainer = trainer
        self.lr_scheduler = lr_scheduler
        self.max_epochs = max_epochs
        self.steps = steps

    def trainer(
        self,
        folder: str | Path,
        pseudo_label_dir: str | Path,
        weights: str | Path | Sequence[tuple[torch.nn.Module, str | Path]] | None = None,
        export_path: str | Path | None = None,
        **options: Any,
    ) -> NetworkTrainer:
        """One training.

        Args:
            folder: its checkpoint, history and final weights.
            pseudo_label_dir: labels, ``<case>_<kind>.nii.gz``.
            weights: file of weights from which the network starts, or pairs of a part of it and a file; None: those
                that it has.
            export_path: a second copy of the final weights.
            **options: more arguments of the trainer, and changed ones.
        """
        loader = self.loader(dataset=self.dataset(pseudo_label_dir=pseudo_label_dir))
        optimizer = self.optimizer(params=[weight for weight in self.network.parameters() if weight.requires_grad])
        if self.max_epochs is not None:
            options = {"max_epochs": self.max_epochs} | options
        return self.make_trainer(
            network=self.network,
            train_data_loader=loader,
            optimizer=optimizer,
            lr_scheduler=self._schedule(optimizer, len(loader), options.get("max_epochs")),
            folder=folder,
            weights=self._weights(weights),
            export_path=export_path,
            **options,
        )

    def _weights(
        self, weights: str | Path | Sequence[tuple[torch.nn.Module, str | Path]] | None
    ) -> list[tuple[torch.nn.Module, str | Path]]:
        if isinstance(weights, str | Path):
            return [(self.network, weights)]
        return list(weights or ())

    def _schedule(self, optimizer: Any, batches: int, max_epochs: int | None) -> Any:
        if self.lr_scheduler is None:
            return None
        if self.steps is None or max_epochs is None:
            return self.lr_scheduler(optimizer=optimizer)
        return self.lr_scheduler(optimizer=optimizer, **{self.steps: max_epochs * batches})
