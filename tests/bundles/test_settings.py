"""A model carries its settings: weights that a training exported are not applied with other ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from camtools.networks.weight_settings import read_settings
from tests.bundles.conftest import LTGRADCAM, UMCAM, Bundle, infer
from tests.conftest import blob_volume, write_volume


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    write_volume(tmp_path / "in/a.nii.gz", blob_volume(1)[0])
    return tmp_path / "in"


def test_another_pixel_size_is_refused(bundle: Bundle, trained: Path, volume: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as failure:
        infer(bundle, volume, tmp_path / "out", trained / "models", pixel_size=2.0)
    message = str(failure.value.__cause__)
    assert (
        f"Expected the settings with which {trained / 'models/model.pt'} was trained, found pixel_size 2.0 " in message
    )
    assert "instead of null. Add --pixel_size null, or run the bundle" in message
    assert not (tmp_path / "out/predictions").exists()


def test_every_file_of_weights_has_settings(bundle: Bundle, trained: Path) -> None:
    files = [*(trained / "models").glob("*.pt"), *(trained / "run").glob("*/model.pt")]
    assert len(files) >= 2
    for path in files:
        settings = read_settings(path)
        assert settings is not None
        assert settings["knobs"]["pixel_size"] is None
        assert str(trained) not in str(settings)


def test_the_gate_asks_for_the_settings_of_its_classifier(
    train_once: Callable[[Bundle], Path], volume: Path, tmp_path: Path
) -> None:
    models = train_once(UMCAM) / "models"
    infer(UMCAM, volume, tmp_path / "out", models, width=0.125)  # the segmenter has no such knob
    with pytest.raises(RuntimeError) as failure:
        infer(UMCAM, volume, tmp_path / "out", models, width=0.125, gate=True)
    assert "classifier.pt was trained, found width 0.125 instead of 0.0625" in str(failure.value.__cause__)


def test_weights_of_another_method_are_refused_by_name(
    train_once: Callable[[Bundle], Path], volume: Path, tmp_path: Path
) -> None:
    models = train_once(LTGRADCAM) / "models"
    with pytest.raises(RuntimeError) as failure:
        infer(UMCAM, volume, tmp_path / "out", models)
    assert "the bundle UM-CAM + SPL trained, found weights of LTGrad-CAM in" in str(failure.value.__cause__)
