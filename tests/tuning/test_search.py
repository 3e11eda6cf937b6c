"""The search on maps that are made by hand: its scores, its sample and its folds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from camtools.tuning import MaskChoice, TuningSettings, choice_mask, fused_map, search_masks
from camtools.tuning.maps import MethodMaps
from tests.reference import metrics as reference
from tests.tuning.spools import MAPS, layer_maps, slices_of, spooled

CPU = torch.device("cpu")
SETTINGS = TuningSettings(
    methods=["layercam", "gradcam"],
    thresholds=[0.2, 0.5],
    refinements=[{"refinement": "crf", "iterations": 2}, {"refinement": "geodesic", "margin": 5}],
    steps=[0.0],
    maps=2,
    finalists=2,
    sample=None,
    resamples=100,
)
PATIENTS = {"a": 3, "b": 1, "c": 2, "d": 4}


def parts(misled: str = "") -> dict[str, MethodMaps]:
    return {name: slices_of(name, count, seed, name == misled) for seed, (name, count) in enumerate(PATIENTS.items())}


def slow_dice(made: dict[str, MethodMaps], choice: MaskChoice) -> list[float]:
    found = []
    for part in made.values():
        maps = part.maps[choice.method]
        chosen = [maps.layers.index(layer) for layer in choice.layers]
        for row in range(len(part.slices.keys)):
            raw = (maps.shares.float() * maps.peaks)[row : row + 1, chosen]
            mask = choice_mask(choice, part.slices.images[row : row + 1], fused_map(raw, choice.fusion))
            found.append(reference.dice(mask[0, 0].numpy(), part.slices.masks[row, 0].numpy()))  # type: ignore[index]
    return found


def test_every_candidate_has_the_dice_of_its_masks() -> None:
    made = parts()
    result = search_masks(spooled(made), MAPS, SETTINGS, CPU)
    table = result.table
    plain = [one for one in table.choices if one.refinement == "none"]
    assert len(plain) == len(MAPS) * 3  # two thresholds and Otsu's
    assert len([one for one in table.choices if one.refinement != "none"]) > 0
    for number, choice in enumerate(table.choices):
        assert table.dice[:, number] == pytest.approx(slow_dice(made, choice), abs=1e-6)
    assert result.decision.chosen in result.finalists
    assert table.complete[list(result.finalists)].all()


def test_the_score_is_the_mean_over_patients() -> None:
    table = search_masks(spooled(parts()), MAPS, SETTINGS, CPU).table
    assert table.patients == list(PATIENTS)
    slow = []
    for name in PATIENTS:
        rows = [row for row, key in enumerate(table.keys) if key.patient == name]
        slow.append(table.dice[rows].mean(axis=0))
    np.testing.assert_allclose(table.by_patient(), slow)


def test_the_best_map_is_found_and_refined() -> None:
    result = search_masks(spooled(parts()), MAPS, SETTINGS, CPU)
    assert result.choice.layers == ("near",)
    assert result.choice.refinement in ("crf", "geodesic")
    means = result.table.by_patient().mean(axis=0)
    none = [number for number in result.finalists if result.table.choices[number].refinement == "none"]
    assert means[result.decision.chosen] > max(means[none]) + 0.02


def test_a_sample_of_everything_is_everything() -> None:
    made = parts()
    whole = search_masks(spooled(made), MAPS, SETTINGS, CPU)
    sampled = search_masks(spooled(made), MAPS, replace(SETTINGS, sample=sum(PATIENTS.values())), CPU)
    assert whole.table.choices == sampled.table.choices
    np.testing.assert_array_equal(whole.table.dice, sampled.table.dice)
    assert (whole.decision, whole.finalists, whole.folds) == (sampled.decision, sampled.finalists, sampled.folds)


def test_a_sample_costs_less_and_its_finalists_are_scored_on_all_slices() -> None:
    result = search_masks(spooled(parts()), MAPS, replace(SETTINGS, sample=4), CPU)
    known = (~np.isnan(result.table.dice)).sum(axis=0)
    refined = [number for number, one in enumerate(result.table.choices) if one.refinement != "none"]
    assert {int(known[number]) for number in refined} == {4, 10}
    assert all(known[number] == 10 for number in result.finalists)
    # one slice of every patient
    (rows,) = np.nonzero(~np.isnan(result.table.dice[:, next(n for n in refined if known[n] == 4)]))
    assert [result.table.keys[row].patient for row in rows] == list(PATIENTS)


@pytest.mark.parametrize("sample", [None, 4])
@pytest.mark.parametrize("left_out", PATIENTS)
def test_a_fold_never_sees_the_patient_that_it_leaves_out(sample: int | None, left_out: str) -> None:
    settings = replace(SETTINGS, sample=sample)
    first = search_masks(spooled(parts()), MAPS, settings, CPU)
    made = parts()
    masks = torch.zeros_like(made[left_out].slices.masks)  # type: ignore[type-var]
    masks[..., :2, :2] = True
    made[left_out] = replace(made[left_out], slices=replace(made[left_out].slices, masks=masks))
    second = search_masks(spooled(made), MAPS, settings, CPU)
    before, after = ({fold.left_out: fold for fold in one.folds}[left_out,] for one in (first, second))
    assert first.table.choices[before.chosen] == second.table.choices[after.chosen]
    assert before.seen == after.seen
    assert before.scores[0] > after.scores[0]


def test_folds_score_the_winner_of_the_others_on_the_one_left_out() -> None:
    result = search_masks(spooled(parts("d")), MAPS, SETTINGS, CPU)
    assert [fold.left_out for fold in result.folds] == [(name,) for name in PATIENTS]
    by_patient = result.table.by_patient()
    for number, fold in enumerate(result.folds):
        assert fold.scores == (by_patient[number, fold.chosen],)
        others = [row for row in range(len(PATIENTS)) if row != number]
        assert fold.seen == pytest.approx(by_patient[others, fold.chosen].mean())
    assert result.cross_validated == pytest.approx(np.mean([fold.scores[0] for fold in result.folds]))
    misled = result.folds[3]
    assert result.table.choices[misled.chosen].layers == ("near",)
    assert misled.scores[0] + 0.2 < misled.seen


def test_two_patients_have_no_folds_and_no_refinement_is_allowed() -> None:
    made = {name: part for name, part in parts().items() if name in "ab"}
    result = search_masks(spooled(made), MAPS, replace(SETTINGS, refinements=()), CPU)
    assert result.folds == ()
    assert result.cross_validated is None
    assert {one.refinement for one in result.table.choices} == {"none"}


def test_slices_without_masks_are_named() -> None:
    made = parts()
    made["b"] = replace(made["b"], slices=replace(made["b"].slices, masks=None))
    with pytest.raises(ValueError, match="Expected a mask for every volume, found none for b_scan"):
        search_masks(spooled(made), MAPS, SETTINGS, CPU)


def gaining(patient: str, seed: int) -> MethodMaps:
    """``near`` is a sharp map of a part of the object, ``far`` a wide one of the whole object, which a CRF sharpens."""
    slices = slices_of(patient, 2, seed).slices
    masks = torch.as_tensor(slices.masks).float()
    some = torch.maximum(masks * torch.roll(masks, (0, 2), (2, 3)), 0.3 * torch.roll(masks, (0, 9), (2, 3)))
    wide = torch.nn.functional.avg_pool2d(masks, 15, 1, 7)
    return MethodMaps(slices, {"layercam": layer_maps(torch.cat([some, wide], dim=1)), "gradcam": layer_maps(some)})


@pytest.mark.parametrize(("screened", "layer", "refinement"), [(1, "near", "none"), (2, "far", "crf")])
def test_a_map_that_gains_by_the_refinement_is_found_if_it_is_screened(
    screened: int, layer: str, refinement: str
) -> None:
    parts = {name: gaining(name, seed) for seed, name in enumerate("abc")}
    maps = [MaskChoice("layercam", ("near",)), MaskChoice("layercam", ("far",))]
    settings = replace(SETTINGS, maps=1, screened=screened, refinements=[{"refinement": "crf"}])
    result = search_masks(spooled(parts), maps, settings, CPU)
    assert (result.choice.layers, result.choice.refinement) == ((layer,), refinement)
    means = result.table.by_patient().mean(axis=0)
    plain = dict.fromkeys(("near", "far"), 0.0)
    for number, one in enumerate(result.table.choices):
        if one.refinement == "none":
            plain[one.layers[0]] = max(plain[one.layers[0]], float(means[number]))
    assert plain["near"] > plain["far"] + 0.1
