"""The worked examples of CONTRIBUTING.md: their code runs, with the tiny knobs of the bundles' tests."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import monai.bundle
import nibabel as nib
import numpy as np
import pytest

from tests.bundles import conftest as bundles
from tests.conftest import write_dataset

REPOSITORY = Path(__file__).parents[1]
UNTIL_PSEUDO_LABELS = ["@check", "@classify", "@pseudo_label"]


def blocks(heading: str, language: str) -> list[str]:
    """Code blocks of one language in one section of the page, in order."""
    page = (REPOSITORY / "CONTRIBUTING.md").read_text()
    section = page.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.DOTALL | re.MULTILINE)


def run_command(command: str, **knobs: Any) -> None:
    """Run a documented command of MONAI in this process, with further knobs."""
    words = shlex.split(command)
    assert words[:4] == ["python", "-m", "monai.bundle", "run"]
    given: dict[str, Any] = {}
    for name, value in zip(words[4::2], words[5::2], strict=True):
        given[name.removeprefix("--")] = ast.literal_eval(value) if value.startswith("[") else value
    monai.bundle.run(**(given | knobs))


def pseudo_labels(command: str, folder: Path, output: Path, kind: str) -> np.ndarray:
    """Pseudo-labels of a test volume, from the command and the dataset and classifier of a folder."""
    places = {"dataset_dir": str(folder / "data"), "classifier_dir": str(folder / "classifier")}
    places |= {"output_dir": str(output), "export_dir": str(output / "models")}
    run_command(command, **(bundles.UMCAM.tiny | places | {"run": UNTIL_PSEUDO_LABELS}))
    return np.asarray(nib.load(output / f"pseudo_labels/images/case_3_{kind}.nii.gz").dataobj)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, a tiny classifier, and pseudo-labels of the bundle as it is."""
    folder = tmp_path_factory.mktemp("plain")
    write_dataset(folder / "data", {"training": 2, "validation": 1, "test": 1})
    train = REPOSITORY / "bundles/umcam/configs/train.yaml"
    pseudo_labels(f"python -m monai.bundle run --config_file {train}", folder, folder / "run", "spl")
    return folder


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds the bundles; the commands start in it, and Python finds the files of the examples there."""
    (tmp_path / "bundles").symlink_to(REPOSITORY / "bundles")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def difference(own: np.ndarray, plain: Path, kind: str) -> float:
    """Largest difference from the pseudo-labels of the bundle as it is."""
    other = nib.load(plain / f"run/pseudo_labels/images/case_3_{kind}.nii.gz").get_fdata()
    return float(np.abs(own - other).max())


def test_add_an_activation_map(plain: Path, workplace: Path) -> None:
    (code,) = blocks("Add an activation map", "python")
    (command,) = blocks("Add an activation map", "bash")
    (workplace / "hires_cam.py").write_text(code)
    own = pseudo_labels(command, plain, workplace / "run", "cam")
    assert 0 <= own.min() < own.max() <= 1
    assert difference(own, plain, "cam") > 0.01


def test_add_a_refinement(plain: Path, workplace: Path) -> None:
    (code,) = blocks("Add a refinement", "python")
    (overlay,) = blocks("Add a refinement", "yaml")
    (command,) = blocks("Add a refinement", "bash")
    (workplace / "guided_filter.py").write_text(code)
    (workplace / "guided.yaml").write_text(overlay)
    own = pseudo_labels(command, plain, workplace / "run", "spl")
    assert 0 <= own.min() < own.max() <= 1
    assert difference(own, plain, "spl") > 0.01
    assert not own[..., [0, 1, 4, 5]].any()  # slices without object stay empty


def replace_entries(file: Path, block: str) -> None:
    """Replace top-level entries of a YAML file by those of a block."""
    text = file.read_text()
    for entry in re.findall(r"^\w+:.*\n(?:[ ].*\n)*", block, re.MULTILINE):
        name = entry.split(":")[0]
        text, found = re.subn(rf"^{name}:.*\n(?:[ ].*\n)*", lambda _, entry=entry: entry, text, flags=re.MULTILINE)
        assert found == 1, name
    file.write_text(text)


def test_add_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (copying,) = blocks("Add a bundle", "bash")
    _, _, source, target = shlex.split(copying)
    shutil.copytree(REPOSITORY / source, tmp_path / target, ignore=shutil.ignore_patterns("models", "output"))
    for name, block in zip(("train.yaml", "inference.yaml"), blocks("Add a bundle", "yaml"), strict=True):
        replace_entries(tmp_path / target / "configs" / name, block)
    names = dict(vars(bundles))
    (entry,) = blocks("Add a bundle", "python")
    exec(entry, names)
    bundle = names["LTLAYERCAM"]
    monkeypatch.setattr(bundles, "REPOSITORY", tmp_path)
    dataset = write_dataset(tmp_path / "data", {"training": 2, "validation": 1, "test": 1})

    run = bundles.train(bundle, dataset, tmp_path)
    assert (run / "report.html").is_file()
    masks = bundles.infer(bundle, dataset, tmp_path / "inference", tmp_path / "models")
    found, expected = (nib.load(folder / "images/case_3.nii.gz").get_fdata() for folder in (masks, run / "predictions"))
    np.testing.assert_array_equal(found, expected)
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == list(bundle.models)
