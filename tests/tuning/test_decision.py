"""The winner, its lead, and the simpler candidate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from camtools.tuning import MaskChoice, decide, simplicity
from camtools.tuning.decision import approach, best_of_approaches

PLAIN = MaskChoice("layercam", ("layer3",), threshold=0.4)
REFINED = replace(PLAIN, refinement="crf")
WIDER = replace(REFINED, parameters={"bilateral_sxy": 20})
GRADCAM = replace(PLAIN, method="gradcam")
CHOICES = [REFINED, PLAIN, WIDER, GRADCAM]


def patients(*means: float, spread: float = 0.1) -> np.ndarray:
    """20 patients with these means, each candidate with other ups and downs."""
    noise = np.random.default_rng(0).normal(0, spread, (20, len(means)))
    return np.array(means) + noise - noise.mean(axis=0)


def test_a_clear_winner_is_taken() -> None:
    made = decide(patients(0.7, 0.5, 0.68, 0.5, spread=0.01), CHOICES, [0, 1, 2, 3])
    assert (made.chosen, made.best, made.runner_up) == (0, 0, 1)  # the wider CRF is of the same kind
    assert made.lead == pytest.approx(0.2)
    assert not made.within_noise
    assert 0.19 < made.interval[0] < 0.2 < made.interval[1] < 0.21


def test_a_simpler_one_is_taken_within_noise() -> None:
    made = decide(patients(0.700, 0.695, 0.690, 0.4), CHOICES, [0, 1, 2, 3])
    assert made.within_noise
    assert (made.best, made.runner_up, made.chosen) == (0, 1, 1)


def test_a_simpler_one_costs_at_most_the_tolerance() -> None:
    values = patients(0.70, 0.68, 0.6, 0.4)
    made = decide(values, CHOICES, [0, 1, 2, 3])
    assert made.within_noise
    assert made.chosen == 0
    assert decide(values, CHOICES, [0, 1, 2, 3], tolerance=0.03).chosen == 1


def test_a_lead_that_every_patient_has_is_no_noise() -> None:
    values = patients(0.5, 0.5)
    values[:, 0] = values[:, 1] + 0.005
    made = decide(values, CHOICES[:2], [0, 1])
    assert not made.within_noise
    assert made.chosen == 0


def test_only_eligible_candidates_win() -> None:
    made = decide(patients(0.9, 0.5, 0.8, 0.4, spread=0.01), CHOICES, [1, 3])
    assert (made.chosen, made.runner_up) == (1, 3)
    alone = decide(patients(0.9, 0.5), CHOICES[:2], [1])
    assert (alone.chosen, alone.runner_up, alone.within_noise) == (1, None, False)
    with pytest.raises(ValueError, match="expected one or more candidates to choose from, found none"):
        decide(patients(0.9, 0.5), CHOICES[:2], [])


def test_thresholds_and_parameters_are_of_one_approach() -> None:
    assert approach(REFINED) == approach(replace(WIDER, threshold=0.2))
    assert len({approach(one) for one in CHOICES}) == 3
    means = np.array([0.5, 0.6, 0.7, 0.6])
    assert best_of_approaches(means, CHOICES, range(4)) == [2, 3, 1]  # of equal ones the simplest first


def test_the_documented_order_of_simplicity() -> None:
    two = replace(PLAIN, layers=("layer2", "layer3"))
    ordered = [
        replace(PLAIN, method="cam"),
        GRADCAM,
        PLAIN,
        two,
        replace(two, fusion="geometric_mean"),
        replace(PLAIN, method="scorecam"),
        replace(GRADCAM, refinement="geodesic"),
        replace(GRADCAM, refinement="crf"),
    ]
    assert sorted([*ordered[3:], *ordered[:3]], key=simplicity) == ordered
