"""Tags of patches: from a CSV or derived from masks, their files, and the samples that carry them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import Compose, NormalizeIntensityd, RandFlipd
from PIL import Image

from camtools.data import DataError, PatchDataset, PatchTagger, Splits, load_datalist
from camtools.data.patch_tags import write_patch_crops, write_patch_tags
from camtools.engine import DatasetCheck
from camtools.patches import PatchGrid
from camtools.transforms import PrepareVolumed
from tests.bundles.files import write_image
from tests.conftest import write_volume

GRID = PatchGrid(4, 2)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """One 2D image of 6 rows and 8 columns whose last two columns are glands 1 and 2, in a dataset."""
    rng = np.random.default_rng(0)
    mask = np.zeros((6, 8), np.uint8)
    mask[:3, 6:], mask[3:, 6:] = 1, 2
    write_image(tmp_path / "data/a.png", rng.integers(0, 255, (6, 8, 3), np.uint8))
    write_image(tmp_path / "data/a_mask.png", mask)
    write_items(tmp_path / "data", [{"image": "a.png", "label": "a_mask.png"}])
    return tmp_path / "data"


def write_items(folder: Path, items: list[dict[str, Any]]) -> None:
    (folder / "dataset.json").write_text(json.dumps({"training": items}))


def tagger(**options: Any) -> PatchTagger:
    return PatchTagger(PrepareVolumed(), GRID, **options)


def test_masks_give_the_classes_above_the_fraction(dataset: Path) -> None:
    item = load_datalist(dataset, "training")[0]
    # arrays run along columns first: corners x 0, 2, 4 by y 0, 2; the mask fills half of the patches at x 4
    expected = [[[True, False]] * 4 + [[True, True]] * 2]
    assert tagger()(item).tolist() == expected
    assert tagger(min_fraction=0.5)(item).tolist() == [[[True, False]] * 4 + [[False, False]] * 2]


def test_masks_of_several_classes_give_each(dataset: Path) -> None:
    item = load_datalist(dataset, "training")[0]
    tags = tagger(num_classes=3)(item)
    # 3 of 4 rows of the patch at y 0 are gland 1 where the mask is, 1 row is gland 2: 6 and 2 of 16 pixels
    assert tags[0, 4].tolist() == [True, True, True]
    assert tagger(num_classes=3, min_fraction=0.2)(item)[0, 4].tolist() == [True, True, False]


def test_volumes_are_tagged_slice_by_slice(tmp_path: Path) -> None:
    mask = np.zeros((6, 8, 3), np.uint8)
    mask[4:, 6:, 2] = 1
    item = {"image": write_volume(tmp_path / "a.nii.gz", mask), "label": write_volume(tmp_path / "m.nii.gz", mask)}
    tags = tagger()(item)
    assert tags.shape == (3, 6, 2)
    assert not tags[:2, :, 1].any()
    assert int(tags[2, :, 1].sum()) == 1


def test_csv_gives_the_same_tags_as_the_mask_it_was_derived_from(dataset: Path) -> None:
    items = load_datalist(dataset, "training")
    assert write_patch_tags(items, tagger(), dataset / "tags.csv", derive=True) == 6
    assert (dataset / "tags.csv").read_text().splitlines()[:2] == ["image,slice,x,y,classes", "a.png,0,0,0,0"]
    write_items(dataset, [{"image": "a.png", "patch_labels": "tags.csv"}])
    given = load_datalist(dataset, "training")
    assert given[0]["slice_labels"] == [1]
    assert torch.equal(tagger()(given[0]), tagger()(items[0]))


def test_empty_table_must_be_filled_in(dataset: Path) -> None:
    write_patch_tags(load_datalist(dataset, "training"), tagger(), dataset / "tags.csv")
    write_items(dataset, [{"image": "a.png", "patch_labels": "tags.csv"}])
    with pytest.raises(DataError, match=r"tags.csv, line 2: expected the classes that the patch shows.* found none"):
        load_datalist(dataset, "training")


def edited(dataset: Path, edit: Any) -> list[dict[str, Any]]:
    """Items with a CSV of right tags after an edit of its rows."""
    write_patch_tags(load_datalist(dataset, "training"), tagger(), dataset / "t.csv", derive=True)
    rows = list(csv.reader((dataset / "t.csv").open()))
    edit(rows)
    (dataset / "t.csv").write_text("\n".join(",".join(row) for row in rows))
    write_items(dataset, [{"image": "a.png", "patch_labels": "t.csv"}])
    return load_datalist(dataset, "training")


def test_wrong_tables_are_refused(dataset: Path) -> None:
    cases = [
        (
            lambda rows: rows.pop(2),
            "Expected one row for each of the 6 patches of side 4 .* found no row for slice 0, x 0, y 2",
        ),
        (lambda rows: rows.append(["a.png", "0", "9", "0", "0"]), "found an extra row for slice 0, x 9, y 0"),
        (lambda rows: rows[1].__setitem__(4, "0 2"), "Expected classes from 0 to 1, found 2"),
        (
            lambda rows: rows.append(rows[1]),
            "line 8: expected one row per patch, found a second row",
        ),
        (lambda rows: rows[3].__setitem__(2, "left"), "line 4: expected whole numbers after the image, found"),
        (lambda rows: rows[0].__setitem__(4, "tags"), "Expected the columns image,slice,x,y,classes, found"),
        (lambda rows: [row.__setitem__(0, "b.png") for row in rows[1:]], "Expected a row for the image 'a.png'"),
    ]
    for edit, message in cases:
        with pytest.raises(DataError, match=message):
            tagger()(edited(dataset, edit)[0])
        (dataset / "t.csv").unlink()
        write_items(dataset, [{"image": "a.png", "label": "a_mask.png"}])


def test_untagged_items(dataset: Path) -> None:
    write_items(dataset, [{"image": "a.png"}])
    items = load_datalist(dataset, "training")
    with pytest.raises(DataError, match="patch tags or a mask, found neither.*camtools patches writes one to fill in"):
        tagger()(items[0])
    assert Splits(items).tagged(tagger=tagger()) == []


def test_tables_and_pictures_overwrite_nothing(dataset: Path, tmp_path: Path) -> None:
    items = load_datalist(dataset, "training")
    write_patch_tags(items, tagger(), tmp_path / "t.csv")
    with pytest.raises(FileExistsError, match="t.csv to be a new file, found an existing one"):
        write_patch_tags(items, tagger(), tmp_path / "t.csv")
    with pytest.raises(DataError, match="found several with the name a.png"):
        write_patch_tags(items * 2, tagger(), tmp_path / "u.csv")
    with pytest.raises(FileExistsError, match="to be a new or empty folder"):
        write_patch_crops(items, tagger(), dataset)


def test_pictures_show_the_patches(dataset: Path, tmp_path: Path) -> None:
    write_patch_crops(load_datalist(dataset, "training"), tagger(), tmp_path / "crops")
    image = np.asarray(Image.open(dataset / "a.png")).astype(float)
    scaled = (image - image.min((0, 1))) / (image.max((0, 1)) - image.min((0, 1))) * 255
    assert len(list((tmp_path / "crops").iterdir())) == 6
    crop = np.asarray(Image.open(tmp_path / "crops/a_slice0_x4_y2.png"))
    np.testing.assert_allclose(crop, scaled[2:6, 4:8], atol=0.5)


def test_samples_are_the_patches_with_their_tags(dataset: Path) -> None:
    items = load_datalist(dataset, "training")
    samples = PatchDataset(items, tagger())
    image = PrepareVolumed()({"image": items[0]["image"]})["image"][..., 0]
    assert len(samples) == 6
    for index, (x, y) in enumerate(GRID.corners(8, 6)):
        assert torch.equal(samples[index]["image"], image[:, x : x + 4, y : y + 4].as_tensor())
        assert samples[index]["label"].tolist() == [1.0, float(x == 4)]
    assert set(samples[0]) == {"image", "index", "label"}


def test_patches_of_small_images_are_full_size(dataset: Path) -> None:
    samples = PatchDataset(load_datalist(dataset, "training"), PatchTagger(PrepareVolumed(), PatchGrid(16, 8)))
    assert [sample["image"].shape for sample in (samples[index] for index in range(len(samples)))] == [(3, 16, 16)]


def test_epoch_fixes_the_augmentation(dataset: Path) -> None:
    flips = Compose([RandFlipd("image", prob=0.5, spatial_axis=0)])
    samples = PatchDataset(load_datalist(dataset, "training"), tagger(), flips, seed=3)

    def epoch(number: int) -> torch.Tensor:
        samples.set_epoch(number)
        return torch.stack([samples[index]["image"] for index in range(6)])

    first = epoch(1)
    assert not torch.equal(first, epoch(2))
    assert torch.equal(first, epoch(1))


def test_transforms_that_write_into_their_input_leave_the_volume_alone(dataset: Path) -> None:
    normalize = NormalizeIntensityd("image", subtrahend=[100.0] * 3, divisor=[10.0] * 3, channel_wise=True)
    samples = PatchDataset(load_datalist(dataset, "training"), tagger(), normalize)
    assert torch.equal(samples[0]["image"], samples[0]["image"])
    plain = PatchDataset(load_datalist(dataset, "training"), tagger())
    torch.testing.assert_close(samples[1]["image"], (plain[1]["image"] - 100) / 10)


def test_check_asks_for_patches_with_and_without_the_object(dataset: Path, tmp_path: Path) -> None:
    items = load_datalist(dataset, "training")
    DatasetCheck(Splits(items), tmp_path, patch_tagger=tagger()).run()
    row = json.loads((tmp_path / "dataset_check.json").read_text())[0]
    assert (row["patches"], row["positive_patches"], row["slices"]) == (6, 2, 1)
    with pytest.raises(DataError, match="training patches with and without the object, found only positive patches"):
        DatasetCheck(Splits(items), tmp_path, patch_tagger=PatchTagger(PrepareVolumed(), PatchGrid(8, 4))).run()
