"""Means over patients and their intervals, against slow references."""

from __future__ import annotations

import numpy as np
import pytest

from camtools.tuning.statistics import (
    bootstrap_interval,
    mean_interval,
    paired_interval,
    patient_folds,
    patient_means,
    spread_sample,
)


def test_patient_means_by_hand() -> None:
    values = np.array([[1.0, 0.2], [0.5, np.nan], [0.0, np.nan], [0.3, 0.4]])
    names, means = patient_means(values, ["b", "a", "a", "b"])
    assert names == ["b", "a"]
    np.testing.assert_allclose(means, [[0.65, 0.3], [0.25, np.nan]])


def slow_interval(values: np.ndarray, resamples: int, seed: int) -> tuple[float, float]:
    drawn = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    means = []
    for draw in drawn:
        picked = [values[patient] for patient in draw if not np.isnan(values[patient])]
        if picked:
            means.append(sum(picked) / len(picked))
    ordered = sorted(means)

    def percentile(share: float) -> float:
        place = share * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])

    return percentile(0.025), percentile(0.975)


def test_bootstrap_matches_the_slow_reference() -> None:
    values = np.random.default_rng(3).random((9, 4))
    values[2, 1] = values[5, 1] = np.nan
    low, high = bootstrap_interval(values, 300, seed=7)
    for column in range(4):
        assert (low[column], high[column]) == pytest.approx(slow_interval(values[:, column], 300, 7))
    means, again_low, again_high = mean_interval(values, 300, seed=7)
    np.testing.assert_allclose(means, np.nanmean(values, axis=0))
    np.testing.assert_array_equal((again_low, again_high), (low, high))
    assert not np.array_equal(bootstrap_interval(values, 300, seed=8)[0], low)


def test_paired_bootstrap_draws_patients_and_not_scores() -> None:
    first, second = np.random.default_rng(0).random((2, 8))
    assert paired_interval(first, second, 400, 1) == pytest.approx(slow_interval(first - second, 400, 1))
    # patients differ by far more than the two candidates do: only pairs show that the first is better
    second = first - 0.01
    low, high = paired_interval(first, second, 400, 1)
    assert low == pytest.approx(0.01)
    assert high == pytest.approx(0.01)


def test_one_patient_has_no_spread_and_an_unscored_column_no_interval() -> None:
    low, high = bootstrap_interval(np.array([[0.4, np.nan]]), 50)
    np.testing.assert_array_equal(low, [0.4, np.nan])
    np.testing.assert_array_equal(high, [0.4, np.nan])


@pytest.mark.parametrize(("patients", "folds", "count"), [(7, None, 7), (30, None, 20), (7, 3, 3), (3, 9, 3)])
def test_every_patient_is_left_out_once(patients: int, folds: int | None, count: int) -> None:
    names = [f"p{number}" for number in range(patients)]
    made = patient_folds(names * 2, folds, seed=4)
    assert len(made) == count
    assert sorted(name for fold in made for name in fold) == sorted(names)
    assert max(map(len, made)) - min(map(len, made)) <= 1
    assert made == patient_folds(names, folds, seed=4)


def test_too_few_patients_and_folds() -> None:
    assert patient_folds(["a", "b", "a"]) == []
    with pytest.raises(ValueError, match="folds: expected 2 or more, found 1"):
        patient_folds(["a", "b", "c"], 1)


def test_a_sample_takes_patients_in_turn() -> None:
    patients = ["a"] * 50 + ["b"] * 3 + ["c"]
    sample = spread_sample(patients, 8, seed=2)
    assert sample == sorted(set(sample))
    assert [sum(patients[index] == name for index in sample) for name in "abc"] == [4, 3, 1]
    assert sample == spread_sample(patients, 8, seed=2)
    assert sample != spread_sample(patients, 8, seed=3)
    assert spread_sample(patients, 99) == list(range(54))
