"""What a tuning tries and how much of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from camtools.thresholds import CANDIDATES, Rule
from camtools.tuning.choice import MaskChoice, checked_scales
from camtools.tuning.methods import DEFAULT_METHODS, checked_methods

__all__ = ["REFINEMENTS", "TuningSettings", "chosen_refinements"]

REFINEMENTS: tuple[Mapping[str, Any], ...] = (
    {"refinement": "crf"},
    {"refinement": "crf", "bilateral_sxy": 20},
    {"refinement": "crf", "bilateral_srgb": 20},
    {"refinement": "geodesic", "margin": 5},
)
"""Refinements that are tried by default: the CRF of the Cfd-CAM paper, twice as far, less sensitive to grey levels, and
the geodesic seeds of the UM-CAM paper."""


@dataclass(frozen=True)
class TuningSettings:
    """Which candidates a tuning tries, and on how many slices.

    Attributes:
        methods: keys of ``camtools.tuning.METHODS``.
        layers: names of the layers whose maps are tried, shallow to deep; None: ``cam_layers``
            of the network, and its ``mask_layers``.
        mirrored: all maps are averaged over the image and its mirror images, which costs three times as much.
        scales: sizes of the image whose maps are averaged; 1.25 costs about 1.6 times as much as 1.
        thresholds: tried on every map divided by its maximum, in (0, 1); Otsu's is tried as well.
        refinements: tried on the best maps, the first one also on the screened maps; each has ``refinement``
            (``"crf"`` or ``"geodesic"``) and its parameters.
        steps: added to the best threshold of a map, for its refinements; Otsu's threshold of each map is tried as well.
        screened: number of maps that get the first refinement at Otsu's threshold, to find those that gain most by it.
        maps: number of maps that get all refinements: the best after the screening.
        finalists: number of refinements that are scored on all slices.
        sample: number of slices on which the refinements are compared first; None: all.
        evidence_slices: number of slices on which maps are judged without masks; 0: not at all.
        folds: of the cross-validation over patients; None: as many as patients, at most 20.
        tolerance: Dice that a simpler choice may cost if the difference may be chance.
        resamples: number of bootstrap samples.
        seed: of the samples of slices, of the folds and of the bootstrap.
        patient: regular expression that finds the patient in the name of a case; None: ``patient`` of ``dataset.json``.
        batch_size: images per pass; None chooses.

    Raises:
        ValueError: an unknown method, a threshold outside (0, 1), a refinement without a name or with parameters that
            it does not have, or a number out of range.
    """

    methods: Sequence[str] = DEFAULT_METHODS
    layers: Sequence[str] | None = None
    mirrored: bool = False
    scales: Sequence[float] = (1.0,)
    thresholds: Sequence[float] = CANDIDATES
    refinements: Sequence[Mapping[str, Any]] = REFINEMENTS
    steps: Sequence[float] = (-0.1, 0.0, 0.1)
    screened: int = 24
    maps: int = 3
    finalists: int = 4
    sample: int | None = 32
    evidence_slices: int = 8
    folds: int | None = None
    tolerance: float = 0.01
    resamples: int = 2000
    seed: int = 0
    patient: str | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        checked_methods(self.methods)
        checked_scales(self.scales)
        if not self.thresholds or any(not 0 < value < 1 for value in self.thresholds):
            raise ValueError(f"thresholds: expected numbers between 0 and 1, found {list(self.thresholds)}.")
        least = {
            "screened": 1,
            "maps": 1,
            "finalists": 1,
            "sample": 1,
            "evidence_slices": 0,
            "tolerance": 0,
            "resamples": 1,
        }
        for name, value in least.items():
            found = getattr(self, name)
            if found is not None and found < value:
                raise ValueError(f"{name}: expected {value} or more, found {found}.")
        if self.folds is not None and self.folds < 2:
            raise ValueError(f"folds: expected 2 or more, found {self.folds}.")
        for given in self.refinements:
            self.refined(MaskChoice("layercam", ("any",), threshold=0.5), 0.5, given)

    def refined(self, choice: MaskChoice, threshold: Rule, given: Mapping[str, Any]) -> MaskChoice:
        """A map with another threshold and one of the refinements."""
        parameters = dict(given)
        name = parameters.pop("refinement", None)
        if name not in ("crf", "geodesic"):
            raise ValueError(f"refinements: expected a refinement 'crf' or 'geodesic' in each, found {name!r}.")
        return MaskChoice(
            choice.method,
            choice.layers,
            choice.fusion,
            threshold,
            name,
            choice.mirrored,
            choice.scales,
            options=choice.options,
            parameters=parameters,
        )


def chosen_refinements(names: Sequence[str]) -> tuple[Mapping[str, Any], ...]:
    """Those of :data:`REFINEMENTS` with one of the names ``crf`` and ``geodesic``; none for ``none``.

    Raises:
        ValueError: another name.

    Example:
        >>> chosen_refinements(["geodesic"])
        ({'refinement': 'geodesic', 'margin': 5},)
    """
    unknown = [name for name in names if name not in ("crf", "geodesic", "none")]
    if unknown or not names:
        raise ValueError(f"refinements: expected crf, geodesic or none, found {', '.join(unknown) or 'nothing'}.")
    return tuple(given for given in REFINEMENTS if given["refinement"] in names)
