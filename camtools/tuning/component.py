"""A tuning as a stage of a bundle."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from camtools.data.splits import Splits
from camtools.engine.ranks import on_first_rank
from camtools.networks.weights import load_weights
from camtools.scores.classifier import TrainedClassifier
from camtools.tuning.choice import write_choice
from camtools.tuning.outputs import format_tuning, write_tuning
from camtools.tuning.settings import TuningSettings
from camtools.tuning.tuning import tune_masks

__all__ = ["MaskTuning"]

logger = logging.getLogger("camtools")


class MaskTuning:
    """Choose how masks are made of a trained classifier, on the validation volumes of a run.

    Args:
        network: the classifier.
        weights: file of its weights.
        prepare: the bundle's preprocessing of a volume.
        splits: the volumes; only those of validation are read.
        folder: folder of ``choice.json`` and the other files of :func:`camtools.tuning.write_tuning`.
        export_path: path of a second copy of ``choice.json``, such as that in the bundle's ``models``.
        device: where maps and masks are computed.
        target: class of the object; 0 for a classifier of one logit.
        **settings: of :class:`camtools.tuning.TuningSettings`.

    Raises:
        ValueError: a setting out of range.
    """

    def __init__(
        self,
        network: nn.Module,
        weights: str | Path,
        prepare: Callable[[Any], Any],
        splits: Splits,
        folder: str | Path,
        export_path: str | Path | None = None,
        device: str | torch.device = "cpu",
        target: int = 1,
        **settings: Any,
    ) -> None:
        self.network = network
        self.weights = weights
        self.prepare = prepare
        self.splits = splits
        self.folder = Path(folder)
        self.export_path = export_path
        self.device = torch.device(device)
        self.target = target
        self.settings = TuningSettings(**settings)
        self.name = "tune"

    @on_first_rank
    def run(self) -> None:
        """Search, log the table and write the files.

        Raises:
            FileNotFoundError: no file of weights.
            ValueError: what :func:`camtools.tuning.tune_masks` raises.
        """
        load_weights(self.name, [(self.network, self.weights)])
        splits = self.splits
        classifier = TrainedClassifier(
            network=self.network.to(self.device).eval(),
            prepare=self.prepare,
            splits={"validation": splits.validation},
            device=self.device,
            slice_axis=splits.slice_axis,
            min_area_fraction=splits.min_area_fraction,
        )
        tuning = tune_masks(classifier, self.settings, self.target)
        write_tuning(tuning, self.folder)
        if self.export_path is not None:
            write_choice(tuning.choice, self.export_path)
        logger.info("%s:\n\n%s\n", self.name, format_tuning(tuning))
