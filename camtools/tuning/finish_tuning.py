"""The threshold of a trained segmenter, chosen on the validation volumes of a run, as a stage of a bundle."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer
from monai.metrics import compute_dice
from monai.transforms import InvertibleTransform, KeepLargestConnectedComponent
from numpy.typing import NDArray
from tqdm import tqdm

from camtools.data.case_names import case_name
from camtools.data.volumes import read_mask
from camtools.engine.ranks import on_first_rank
from camtools.engine.run_locks import export_lock
from camtools.networks.weights import load_weights
from camtools.scores.tables import write_csv
from camtools.transforms import PredictVolumed
from camtools.transforms.finish import invert_prepared
from camtools.tuning.finish import FinishChoice, write_finish
from camtools.tuning.statistics import mean_of_known, patient_folds

__all__ = ["FinishTuning", "dice_of_finishes"]

logger = logging.getLogger("camtools")

Floats = NDArray[np.float64]
THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def dice_of_finishes(shares: torch.Tensor, mask: torch.Tensor, choices: Sequence[FinishChoice]) -> Floats:
    """3D Dice of one volume, of every choice.

    Args:
        shares: probability of the object, ``(1, X, Y, Z)`` in [0, 1].
        mask: the object is where it exceeds 0.5, ``(1, X, Y, Z)``.
        choices: what is compared.

    Returns:
        ``(C,)`` in [0, 1]; NaN everywhere if the mask is empty.

    Example:
        >>> shares, mask = torch.tensor([[[[0.9, 0.4]]]]), torch.ones(1, 1, 1, 2)
        >>> dice_of_finishes(shares, mask, [FinishChoice(0.3), FinishChoice(0.5)]).round(3)
        array([1.   , 0.667])
    """
    keep_largest = KeepLargestConnectedComponent()
    truth = (mask > 0.5).float()[None]
    found = []
    for choice in choices:
        finished = (shares > choice.threshold).float()
        if choice.largest_component:
            finished = keep_largest(finished)
        found.append(float(compute_dice(torch.as_tensor(finished)[None], truth)))
    return np.array(found)


class FinishTuning:
    """Choose the threshold of a segmenter, and whether only the largest component is kept.

    The choice with the largest mean 3D Dice over the validation volumes wins, on the voxels of their files, where masks
    are written and scored; of equal ones the threshold nearest to 0.5, without the component. Its Dice is also
    estimated by cross-validation over patients: each patient is scored with the choice of the others. Without
    validation masks, the choice is 0.5 and all components.

    ``folder`` holds ``finish.json`` (:class:`camtools.tuning.FinishChoice`) and ``finish.csv``, a line for each choice
    with its mean Dice in %, and that of every volume.

    Args:
        data: validation volumes, ``image`` with masks ``label``.
        prepare: the bundle's preprocessing of a volume.
        network: 2D segmenter of two classes, ``(B, C, H, W) -> (B, 2, H, W)``.
        weights: file of its trained weights.
        inferer: predicts class probabilities, such as :class:`camtools.engine.MultiScaleInferer`.
        folder: folder of the files named above.
        thresholds: candidates. Segmenters that learn from incomplete masks are best far below 0.5.
        export_path: path of a second copy of ``finish.json``, such as that in the bundle's ``models``.
        device: where the network runs.
        amp: mixed precision, see :func:`camtools.precision.mixed_precision`.
        channels_last: memory format of the weights, see :func:`camtools.networks.place_network`.

    Raises:
        ValueError: a threshold out of range.
    """

    name = "finish"  # shown in messages; a stage sets it to its own name

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        prepare: InvertibleTransform,
        network: torch.nn.Module,
        weights: str | Path,
        inferer: Inferer,
        folder: str | Path,
        thresholds: Sequence[float] = THRESHOLDS,
        export_path: str | Path | None = None,
        device: torch.device | str = "cpu",
        amp: bool = False,
        channels_last: bool | None = None,
    ) -> None:
        self.data = list(data)
        self.prepare = prepare
        self.network = network
        self.weights = Path(weights)
        self.predict = PredictVolumed(network, inferer, device, amp=amp, channels_last=channels_last)
        self.to_file_voxels = invert_prepared(["pred"], prepare)
        self.folder = Path(folder)
        self.export_path = export_path
        ordered = sorted(thresholds, key=lambda threshold: abs(threshold - 0.5))
        self.choices = [FinishChoice(*values) for values in product(ordered, (False, True))]

    def run(self) -> None:
        """Score the choices and write the best one.

        Raises:
            FileNotFoundError: the weights are missing.
            FolderInUseError: another run uses the folder of ``export_path``.
        """
        with export_lock(self.export_path):
            self._write()

    @on_first_rank
    def _write(self) -> None:
        choice = self._choose() if self._has_masks() else FinishChoice()
        for path in (self.folder / "finish.json", self.export_path):
            if path is not None:
                write_finish(choice, path)

    def _has_masks(self) -> bool:
        return bool(self.data) and all(item.get("label") for item in self.data)

    def _choose(self) -> FinishChoice:
        load_weights(self.name, [(self.network, self.weights)])
        rows = []
        for item in tqdm(self.data, desc=self.name, unit="volume", disable=None):
            predicted = self.predict(self.prepare({"image": item["image"]}))
            shares = self.to_file_voxels(predicted)["pred"].as_tensor()[1:].cpu()
            rows.append(dice_of_finishes(shares, read_mask(item["label"]).as_tensor(), self.choices))
        dice = np.array(rows)
        means = mean_of_known(dice)
        best = int(np.nanargmax(means)) if np.isfinite(means).any() else 0
        self._report(dice, means, best)
        return self.choices[best]

    def _report(self, dice: Floats, means: Floats, best: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        header = ["threshold", "largest_component", "dice_percent", *[case_name(item) for item in self.data]]
        rows = []
        for number, choice in enumerate(self.choices):
            scores = 100 * np.array([means[number], *dice[:, number]])
            rows.append([choice.threshold, int(choice.largest_component), *scores.tolist()])
        write_csv(self.folder / "finish.csv", header, rows)
        choice = self.choices[best]
        kept = "the largest component" if choice.largest_component else "all components"
        logger.info(
            "%s: threshold %.2f, %s: 3D Dice %.4f on %d validation volumes; %.4f by cross-validation over patients, "
            "%.4f with 0.5 and all components",
            self.name,
            choice.threshold,
            kept,
            means[best],
            len(dice),
            self._cross_validated(dice),
            means[self.choices.index(FinishChoice())],
        )

    def _cross_validated(self, dice: Floats) -> float:
        """Mean Dice of patients, each with the choice of the other patients; NaN for fewer than 3 patients."""
        patients = [str(item.get("patient", case_name(item))) for item in self.data]
        left_out = np.full(len(dice), np.nan)
        for fold in patient_folds(patients):
            out = np.isin(patients, fold)
            means = mean_of_known(dice[~out])
            if np.isfinite(means).any():
                left_out[out] = dice[out, int(np.nanargmax(means))]
        return float(mean_of_known(left_out[:, None])[0])
