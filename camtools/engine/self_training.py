"""Self-training in rounds: a segmenter relabels its training volumes, and the next one learns from these labels."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from monai.engines import SupervisedEvaluator
from monai.inferers import Inferer
from monai.transforms import InvertibleTransform

from camtools.data.case_names import case_name
from camtools.data.files import atomic_save, write_json
from camtools.data.slice_dataset import pseudo_label_files
from camtools.engine.pipelines import VolumePipeline
from camtools.engine.run_locks import export_lock
from camtools.engine.segmenter_training import SegmenterTraining
from camtools.networks.weight_settings import with_settings
from camtools.networks.weights import load_weights, read_weights
from camtools.transforms import PredictVolumed, SharesToLabelsd, TagGatedSharesd

__all__ = ["SelfTraining"]

logger = logging.getLogger("camtools")

Transform = Callable[[Any], Any]
Row = dict[str, float]


class SelfTraining:
    """Rounds of relabelling and training. The best round on the validation volumes gives the final weights.

    In every round, the segmenter of the round before

    1. predicts the training volumes (``inferer``, then ``steps``),
    2. labels them: slices tagged 0 are empty, slices tagged 1 that come out empty keep their previous label, and pixels
       within ``ignore_band`` of one half are ignored (:class:`camtools.transforms.TagGatedSharesd`,
       :class:`camtools.transforms.SharesToLabelsd`),
    3. and is trained on these labels (``training``). The key metric of ``evaluator`` chooses the epoch.

    Round 0 is the given segmenter. The round with the best key metric wins; of equal ones the earliest. Without
    ``evaluator`` (no validation masks) all rounds are run, and the last one wins.

    ``folder`` holds ``history.json`` (one row per round: ``round`` and the key metric), ``model.pt`` (weights of the
    best round) and ``round-<n>/`` with the labels ``labels/<case>_mask.nii.gz`` and the files of the training. A killed
    run continues where it was, and ends with the same weights as an uninterrupted one.

    Args:
        training: makes the trainings; its dataset must read the labels ``mask``.
        rounds: largest number of rounds; 0: the given segmenter is only copied.
        data: training items with tags and without masks, such as ``splits.tagged(splits.training)``.
        prepare: transform that loads and prepares a volume, as for training.
        inferer: predicts class probabilities of a volume, such as :class:`camtools.engine.MultiScaleInferer`.
        weights: file of the weights of round 0.
        pseudo_label_dir: labels from which round 0 was trained.
        folder: folder of the files named above.
        previous: kind of the labels of round 0, see ``camtools.data.slice_dataset.pseudo_label_files``.
        ignore_band: see :class:`camtools.transforms.SharesToLabelsd`; None: no pixel is ignored.
        steps: transforms of the probabilities ``pred`` before they become labels, such as
            :class:`camtools.transforms.AverageAcrossSlicesd`.
        patience: rounds without a better key metric after which no further one is run; None: all are run.
        new_network: makes a network from whose weights each round starts, ``_mode_: callable`` in YAML; None: each
            round starts from the weights of the round before.
        evaluator: of the trainings; scores round 0.
        export_path: path of a second copy of the final weights, such as the bundle's ``models/model.pt``.
        device: where the segmenter runs.
        amp: mixed precision of the relabelling, see :func:`camtools.precision.mixed_precision`.
        channels_last: memory format of the weights, see :func:`camtools.networks.place_network`.
        seed: of the weights of ``new_network``.

    Raises:
        ValueError: ``rounds`` is negative, or ``patience`` is below 1 or given without an evaluator.
    """

    name = "self_train"  # shown in messages; a stage sets it to its own name
    model_settings: dict[str, Any] | None = None  # of the run, written with the weights; a stage sets them

    def __init__(
        self,
        training: SegmenterTraining,
        rounds: int,
        data: Sequence[dict[str, Any]],
        prepare: InvertibleTransform,
        inferer: Inferer,
        weights: str | Path,
        pseudo_label_dir: str | Path,
        folder: str | Path,
        previous: str = "mask",
        ignore_band: float | None = None,
        steps: Sequence[Transform] = (),
        patience: int | None = None,
        new_network: Callable[[], torch.nn.Module] | None = None,
        evaluator: SupervisedEvaluator | None = None,
        export_path: str | Path | None = None,
        device: torch.device | str = "cpu",
        amp: bool = False,
        channels_last: bool | None = None,
        seed: int = 0,
    ) -> None:
        _check(rounds, patience, evaluator)
        self.training = training
        self.rounds = rounds
        self.data = list(data)
        self.prepare = prepare
        self.predict = PredictVolumed(training.network, inferer, device, amp=amp, channels_last=channels_last)
        self.weights = Path(weights)
        self.pseudo_label_dir = Path(pseudo_label_dir)
        self.folder = Path(folder)
        self.previous = previous
        self.steps = list(steps)
        self.to_labels = SharesToLabelsd(ignore_band)
        self.patience = patience
        self.new_network = new_network
        self.evaluator = evaluator
        self.export_path = export_path
        self.seed = seed

    @property
    def network(self) -> torch.nn.Module:
        """The segmenter, shared by all rounds."""
        return self.training.network

    @property
    def history_path(self) -> Path:
        """File of the scores of the finished rounds."""
        return self.folder / "history.json"

    def run(self) -> None:
        """Run the rounds that are left, and write the final weights.

        Raises:
            FileNotFoundError: the weights of round 0 are missing.
            VolumesFailedError: volumes could not be relabelled.
            FolderInUseError: another run uses the folder of ``export_path``.
        """
        with export_lock(self.export_path):
            history = self._finished_rounds()
            if not history:
                self._add(history, self._score_of_start())
            for number in range(len(history), self.rounds + 1):
                if self._is_exhausted(history):
                    break
                self._relabel(number)
                self._add(history, self._train(number))
            self._choose(history)

    def model_path(self, number: int) -> Path:
        """File of the weights of a round."""
        return self.weights if number == 0 else self._round(number) / "model.pt"

    def _round(self, number: int) -> Path:
        return self.folder / f"round-{number}"

    def _finished_rounds(self) -> list[Row]:
        if not self.history_path.is_file():
            return []
        history: list[Row] = json.loads(self.history_path.read_text(encoding="utf-8"))
        return history

    def _add(self, history: list[Row], scores: Row) -> None:
        history.append({"round": len(history)} | scores)
        shown = ", ".join(f"{key} {value:.4f}" for key, value in scores.items())
        logger.info("%s: round %d of %d%s", self.name, len(history) - 1, self.rounds, f", {shown}" if shown else "")
        if idist.get_rank() == 0:
            write_json(history, self.history_path)
        idist.barrier()

    def _score_of_start(self) -> Row:
        load_weights(self.name, [(self.network, self.weights)])
        if self.evaluator is None or self.rounds == 0:
            return {}
        self.evaluator.run()
        return self._key_metric(float(self.evaluator.state.metrics[self.metric]))

    @property
    def metric(self) -> str:
        """Name of the key metric; empty without an evaluator."""
        return "" if self.evaluator is None else str(self.evaluator.state.key_metric_name)

    def _key_metric(self, value: float) -> Row:
        return {} if self.evaluator is None else {self.metric: value}

    def _is_exhausted(self, history: Sequence[Row]) -> bool:
        if self.patience is None or len(history) - 1 - self._best(history) < self.patience:
            return False
        logger.info("%s: ends, no better %s in %d rounds", self.name, self.metric, self.patience)
        return True

    def _best(self, history: Sequence[Row]) -> int:
        """Number of the best round, or of the last one without validation."""
        if self.evaluator is None:
            return len(history) - 1
        values = [row.get(self.metric, -math.inf) for row in history]
        return values.index(max(values))

    def _relabel(self, number: int) -> None:
        kind, folder = "mask", self._round(number - 1) / "labels"
        if number == 1:
            kind, folder = self.previous, self.pseudo_label_dir
        items = []
        for item in self.data:
            kept = {"image": item["image"], "case": case_name(item), "slice_labels": item["slice_labels"]}
            items.append(kept | pseudo_label_files(folder, item, [kind]))
        VolumePipeline(
            name=f"{self.name}: relabel, round {number}",
            data=items,
            prepare=self.prepare,
            steps=[self.predict, *self.steps, TagGatedSharesd(previous_key=kind)],
            finish=self.to_labels,
            outputs={"mask": "_mask.nii.gz"},
            folder=self._round(number) / "labels",
            dtype="uint8",
            weights=[(self.network, self.model_path(number - 1))],
        ).run()

    def _train(self, number: int) -> Row:
        trainer = self.training.trainer(
            folder=self._round(number),
            pseudo_label_dir=self._round(number) / "labels",
            weights=self._start(number),
            name=f"{self.name}: train, round {number}",
        )
        trainer.run()
        return self._key_metric(float(trainer.best["metric"]))

    def _start(self, number: int) -> Path:
        """File of the weights from which a round is trained."""
        if self.new_network is None:
            return self.model_path(number - 1)
        path = self._round(number) / "start.pt"
        if idist.get_rank() == 0:
            torch.manual_seed(self.seed + number)
            atomic_save(self.new_network().state_dict(), path)
        idist.barrier()
        return path

    def _choose(self, history: Sequence[Row]) -> None:
        best = self._best(history)
        logger.info("%s: round %d gives the final weights", self.name, best)
        if idist.get_rank() == 0:
            weights = with_settings(read_weights(self.name, self.model_path(best)), self.model_settings)
            for path in (self.folder / "model.pt", self.export_path):
                if path is not None:
                    atomic_save(weights, path)
        idist.barrier()


def _check(rounds: int, patience: int | None, evaluator: SupervisedEvaluator | None) -> None:
    if rounds < 0:
        raise ValueError(f"Expected rounds of at least 0, found {rounds}. Give 0 for no self-training.")
    if patience is not None and (patience < 1 or evaluator is None):
        raise ValueError(
            f"Expected patience to be a number of rounds, at least 1, with validation masks, or null, found {patience} "
            f"{'without' if evaluator is None else 'with'} them. Correct patience, or add validation masks."
        )
