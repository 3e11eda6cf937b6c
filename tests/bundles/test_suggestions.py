"""The classifier of a run of each bundle, for the suggestions of camtools tag (camtools.tag.classifier)."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from camtools.data.errors import DataError
from camtools.tag.classifier import suggestions_of
from camtools.tag.listing import read_folder
from camtools.tag.session import TagSession
from tests.browsers import wait_until
from tests.bundles.conftest import AUTO, CFDCAM, LTGRADCAM, OEEM, UMCAM, Bundle
from tests.bundles.files import prepared_slices


@pytest.fixture
def to_tag(dataset: Path, tmp_path: Path) -> Path:
    """Two volumes without anything beside them."""
    for case in ("case_5.nii.gz", "case_6.nii.gz"):
        (tmp_path / "new").mkdir(exist_ok=True)
        shutil.copyfile(dataset / "images" / case, tmp_path / "new" / case)
    return tmp_path / "new"


def suggested(run: Path, folder: Path) -> dict[str, tuple[float, ...]]:
    """Probabilities of the slices of each volume."""
    shutil.rmtree(folder / ".camtools_tag", ignore_errors=True)
    listed = read_folder(folder)
    found = suggestions_of(run, listed.slice_axis)
    tagging = TagSession(listed, suggestions=found)
    tagging.start()
    wait_until(lambda: len(found.finished) == 2 or found.problem)
    tagging.stop()
    assert found.problem == ""
    return {volume.case: found.of(volume.id).probabilities for volume in listed.volumes.values()}


@pytest.mark.parametrize("bundle", [UMCAM, CFDCAM, LTGRADCAM, AUTO], ids=lambda bundle: bundle.name)
def test_run_its_bundle_and_its_manifest_suggest_the_same(bundle: Bundle, own_trained: Path, to_tag: Path) -> None:
    run = own_trained / "run"
    first = suggested(run, to_tag)
    assert all(len(probabilities) == 6 for probabilities in first.values())
    assert suggested(shutil.copytree(run / "bundle", own_trained / "mailed"), to_tag) == first
    shutil.rmtree(run / "bundle")
    assert suggested(run, to_tag) == first, "a run without a bundle of its own"


@pytest.mark.parametrize("bundle", [UMCAM, CFDCAM], ids=lambda bundle: bundle.name)
def test_probabilities_are_those_of_the_classifier(bundle: Bundle, trained: Path, to_tag: Path) -> None:
    config = json.loads((trained / "run/manifest.json").read_text())["config"]
    network = ConfigParser(config).get_parsed_content("classifier#network").eval()
    network.load_state_dict(torch.load(trained / "run/classifier/model.pt", weights_only=True))
    found = suggested(trained / "run", to_tag)
    for case, probabilities in found.items():
        with torch.no_grad():
            logits = network(prepared_slices(str(to_tag / f"{case}.nii.gz")))
        one = logits.shape[1] == 1
        assert one == (bundle is CFDCAM)
        expected = logits.sigmoid()[:, 0] if one else logits.softmax(dim=1)[:, 1]
        torch.testing.assert_close(torch.tensor(probabilities), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("bundle", [OEEM], ids=["oeem"])
def test_classifier_of_patches_is_refused(bundle: Bundle, trained: Path) -> None:
    for folder in (trained / "run", trained / "run/bundle"):
        with pytest.raises(DataError, match=r"to have trained a classifier of slices .*, found one of patches"):
            suggestions_of(folder, None)


@pytest.mark.parametrize("bundle", [UMCAM], ids=["umcam"])
def test_bundle_with_other_settings_or_without_weights_is_refused(bundle: Bundle, own_trained: Path) -> None:
    own = own_trained / "run/bundle"
    file = own / "configs/inference.yaml"
    file.write_text(re.sub(r"(?m)^pixel_size: \S+", "pixel_size: 2.0", file.read_text()))
    with pytest.raises(DataError, match=r"found pixel_size 2\.0 instead of null"):
        suggestions_of(own, None)
    (own / "models/classifier.pt").unlink()
    with pytest.raises(DataError, match=r"Expected a trained classifier at .*classifier\.pt, found none"):
        suggestions_of(own, None)
