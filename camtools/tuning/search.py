"""The search for the best masks of one trained classifier."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from camtools.metrics import dice
from camtools.scores.spool import Spool
from camtools.thresholds import DiceSearch, Rule
from camtools.tuning.choice import MaskChoice
from camtools.tuning.decision import Decision, best_of_approaches, decide
from camtools.tuning.maps import MethodMaps, SpooledMaps
from camtools.tuning.masks import choice_mask
from camtools.tuning.methods import method_name
from camtools.tuning.scores import ScoreTable
from camtools.tuning.settings import TuningSettings
from camtools.tuning.statistics import MeanInterval, mean_interval, mean_of_known, patient_folds, spread_sample

__all__ = ["Fold", "SearchResult", "search_masks"]


@dataclass(frozen=True)
class Fold:
    """One fold of the cross-validation.

    Attributes:
        left_out: patients that the choice did not see.
        chosen: number of the candidate that the other patients chose.
        seen: its mean Dice over the patients that chose it.
        scores: its mean Dice of each patient left out.
    """

    left_out: tuple[str, ...]
    chosen: int
    seen: float
    scores: tuple[float, ...]


@dataclass(frozen=True)
class SearchResult:
    """Scores of all candidates, the winner, and the cross-validation over patients.

    Attributes:
        table: Dice of candidates on slices.
        decision: the winner of all patients.
        finalists: numbers of the candidates that could win: all maps without refinement, and the refinements that were
            scored on all slices.
        folds: empty for fewer than 3 patients.
        intervals: mean Dice over patients of every candidate, and its 95% interval.
    """

    table: ScoreTable
    decision: Decision
    finalists: tuple[int, ...]
    folds: tuple[Fold, ...]
    intervals: MeanInterval

    @property
    def choice(self) -> MaskChoice:
        """The winner."""
        return self.table.choices[self.decision.chosen]

    @property
    def cross_validated(self) -> float | None:
        """Mean over patients of the Dice that the choice of the other patients gives; None without folds."""
        scores = [score for fold in self.folds for score in fold.scores]
        return float(np.mean(scores)) if scores else None


class _Search:
    """Candidates are proposed by the patients of a view: all of them, or all but those of a fold."""

    def __init__(
        self, spooled: SpooledMaps, maps: Sequence[MaskChoice], settings: TuningSettings, device: torch.device
    ):
        self.spooled = spooled
        self.maps = maps
        self.settings = settings
        self.device = device
        keys = spooled.keys
        self.table = ScoreTable(keys)
        patients = [key.patient for key in keys]
        size = len(keys) if settings.sample is None else settings.sample
        self.sample = spread_sample(patients, size, settings.seed)
        self.views: list[list[str]] = [[], *patient_folds(patients, settings.folds, settings.seed)]

    def score_maps(self) -> None:
        """Dice of every map at every threshold, on all slices."""
        start = 0
        for part in _bar(self.spooled.parts, "tune: thresholds", len(self.table.keys)):
            rows = range(start, start + len(part.slices.keys))
            start += len(rows)
            masks = _masks(part).to(self.device)
            for one in self.maps:
                fused = part.maps[method_name(one)].fused(one, None, self.device)
                search = DiceSearch(self.settings.thresholds)
                search.add(fused, masks)
                for threshold, values in zip(search.candidates, search.dice.T.tolist(), strict=True):
                    self.table.fill(replace(one, threshold=threshold), rows, values)
                self.table.fill(one, rows, _dice(one, part, fused, masks, None))

    def screening(self, view: Sequence[str]) -> list[MaskChoice]:
        """The first refinement, at Otsu's threshold, of the best maps of a view."""
        plain = [number for number, one in enumerate(self.table.choices) if one.refinement == "none"]
        screened = [self.table.choices[number] for number in self._ranked(view, plain)[: self.settings.screened]]
        return [self.settings.refined(one, "otsu", self.settings.refinements[0]) for one in screened]

    def refinements(self, view: Sequence[str], screened: Sequence[MaskChoice]) -> list[MaskChoice]:
        """All refinements of the maps that are best after the screening."""
        found = list(screened)
        plain = [number for number, one in enumerate(self.table.choices) if one.refinement == "none"]
        best = {self.table.choices[number].map_name: number for number in self._ranked(view, plain)}
        for number in self._ranked(view, [self.table.number(one) for one in screened])[: self.settings.maps]:
            one = self.table.choices[best[self.table.choices[number].map_name]]
            middle = one.threshold if isinstance(one.threshold, float) else 0.5
            near = [round(middle + step, 6) for step in self.settings.steps]
            levels: list[Rule] = ["otsu", *(level for level in dict.fromkeys(near) if 0 < level < 1)]
            for level in levels:
                found += [self.settings.refined(one, level, given) for given in self.settings.refinements]
        return found

    def score(self, choices: Sequence[MaskChoice], sampled: bool) -> None:
        """Dice of refinements on the sample or on all slices, where it is missing."""
        wanted = np.zeros(len(self.table.keys), dtype=bool)
        wanted[self.sample if sampled else slice(None)] = True
        start = 0
        what = "a sample" if sampled else "all slices"
        for part in _bar(self.spooled.parts, f"tune: refinements, {what}", len(self.table.keys)):
            stop = start + len(part.slices.keys)
            for choice in choices:
                rows = np.flatnonzero((wanted & self.table.missing(choice))[start:stop])
                if len(rows):
                    self.table.fill(choice, list(rows + start), self._refined(choice, part, torch.from_numpy(rows)))
            start = stop

    def _refined(self, choice: MaskChoice, part: MethodMaps, rows: torch.Tensor) -> list[float]:
        fused = part.maps[method_name(choice)].fused(choice, rows, self.device)
        return _dice(choice, part, fused, _masks(part)[rows].to(self.device), rows)

    def finalists(self, view: Sequence[str], proposed: Sequence[MaskChoice]) -> list[MaskChoice]:
        """The refinements that are best on a view's part of the sample: half of them of different approaches."""
        numbers = [self.table.number(choice) for choice in proposed]
        count = self.settings.finalists
        taken = self._ranked(view, numbers)[: (count + 1) // 2]
        means = self._means(view)
        others = sorted(set(numbers) - set(taken), key=lambda number: (-means[number], number))
        taken += others[: count - len(taken)]
        return [self.table.choices[number] for number in taken]

    def decide(self, view: Sequence[str], finalists: Sequence[MaskChoice]) -> tuple[Decision, list[int]]:
        """The winner of a view, and what could have won."""
        eligible = [number for number, one in enumerate(self.table.choices) if one.refinement == "none"]
        eligible += [self.table.number(choice) for choice in finalists]
        seen = self.table.by_patient()[self.table.seen(view)]
        settings = self.settings
        made = decide(seen, self.table.choices, eligible, settings.tolerance, settings.resamples, settings.seed)
        return made, eligible

    def _means(self, view: Sequence[str]) -> NDArray[np.float64]:
        seen = self.table.by_patient()[self.table.seen(view)]
        return np.nan_to_num(mean_of_known(seen), nan=-1.0)  # not tried on any of these patients: never the best

    def _ranked(self, view: Sequence[str], numbers: Sequence[int]) -> list[int]:
        return best_of_approaches(self._means(view), self.table.choices, numbers)


def search_masks(
    spooled: SpooledMaps, maps: Sequence[MaskChoice], settings: TuningSettings, device: torch.device
) -> SearchResult:
    """Find the best map, threshold and refinement, and how well such a choice does on other patients.

    Every map is scored at every threshold on all slices. A map that is poor alone may be the best after a refinement.
    Maps of different kinds are therefore screened: the first refinement, at Otsu's threshold, on a sample of slices.
    The best of them get every refinement, at thresholds around the best one of the map, on the sample. The best
    refinements are scored on all slices.

    The cross-validation repeats the whole choice, with the refinements that it proposes, for every fold of patients
    without the patients of the fold, and scores its winner on them. Only the tables are shared.

    Args:
        spooled: slices with masks and their maps.
        maps: the candidates without refinement.
        settings: what is tried.
        device: where masks are computed.

    Returns:
        All scores, the winner and the folds.
    """
    search = _Search(spooled, maps, settings, device)
    search.score_maps()
    finalists: list[list[MaskChoice]] = [[] for _ in search.views]
    if settings.refinements:
        screened = [search.screening(view) for view in search.views]
        search.score(_union(screened), sampled=True)
        proposed = [search.refinements(view, own) for view, own in zip(search.views, screened, strict=True)]
        search.score(_union(proposed), sampled=True)
        finalists = [search.finalists(view, own) for view, own in zip(search.views, proposed, strict=True)]
        search.score(_union(finalists), sampled=False)
    decision, eligible = search.decide((), finalists[0])
    folds = []
    for view, own in zip(search.views[1:], finalists[1:], strict=True):
        folds.append(_fold(search.table, view, search.decide(view, own)[0]))
    intervals = mean_interval(search.table.by_patient(), settings.resamples, settings.seed)
    return SearchResult(search.table, decision, tuple(eligible), tuple(folds), intervals)


def _fold(table: ScoreTable, left_out: Sequence[str], decision: Decision) -> Fold:
    values = table.by_patient()[:, decision.chosen]
    seen = table.seen(left_out)
    return Fold(tuple(left_out), decision.chosen, float(values[seen].mean()), tuple(values[~seen].tolist()))


def _union(groups: Sequence[Sequence[MaskChoice]]) -> list[MaskChoice]:
    found: dict[str, MaskChoice] = {}
    for group in groups:
        found |= {repr(choice): choice for choice in group}
    return list(found.values())


def _masks(part: MethodMaps) -> torch.Tensor:
    if part.slices.masks is None:
        raise ValueError(f"Expected a mask for every volume, found none for {part.slices.keys[0].case}. Add masks.")
    return part.slices.masks


def _dice(choice: MaskChoice, part: MethodMaps, fused: torch.Tensor, masks: torch.Tensor, rows: object) -> list[float]:
    images = part.slices.images if rows is None else part.slices.images[rows]  # type: ignore[index]
    values: list[float] = dice(choice_mask(choice, images, fused), masks).tolist()
    return values


def _bar(parts: Spool[MethodMaps], what: str, slices: int) -> Iterator[MethodMaps]:
    with tqdm(total=slices, desc=what, unit="slice", disable=None) as bar:
        for part in parts:
            yield part
            bar.update(len(part.slices.keys))
