"""Large cohorts: several processes, shards without any tie to each other, changed volumes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tests.bundles.conftest import REPOSITORY, UMCAM, Bundle, infer, inference_knobs, train
from tests.bundles.files import values
from tests.conftest import blob_volume, write_volume

BOTH = ["@predict", "@maps"]
# what a test shows here does not depend on the bundle
one_bundle = pytest.mark.parametrize("bundle", [UMCAM], indirect=True, ids=["umcam"])


def outputs(folder: Path) -> dict[str, np.ndarray]:
    return {str(path.relative_to(folder)): values(path) for path in sorted(folder.rglob("*.nii.gz"))}


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=1e-6)


def two_processes(bundle: Bundle, *overlays: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    files = str([*bundle.files("inference.yaml", "multi_gpu_train.yaml"), *overlays])
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    knobs = [part for key, value in settings.items() for part in (f"--{key}", str(value))]
    return subprocess.run(
        [*launcher, "-m", "monai.bundle", "run", "--config_file", files, *knobs],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    for name in ("a", "b", "sub/a", "sub/c", "sub/d"):
        write_volume(tmp_path / f"in/{name}.nii.gz", blob_volume(sum(name.encode()))[0])
    return tmp_path / "in"


@one_bundle
def test_two_processes_write_what_one_does(bundle: Bundle, trained: Path, cohort: Path, tmp_path: Path) -> None:
    infer(bundle, cohort, tmp_path / "one", trained / "models", run=BOTH)
    (tmp_path / "both.json").write_text(json.dumps({"run": BOTH}))
    settings = inference_knobs(bundle, trained / "models") | {"dataset_dir": cohort, "output_dir": tmp_path / "two"}
    done = two_processes(bundle, str(tmp_path / "both.json"), **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(outputs(tmp_path / "one")) == 10
    assert_same(outputs(tmp_path / "two"), outputs(tmp_path / "one"))


@one_bundle
def test_two_processes_finish_their_volumes_and_fail_together(
    bundle: Bundle, trained: Path, cohort: Path, tmp_path: Path
) -> None:
    (cohort / "broken.nii.gz").write_bytes(b"not an image")
    settings = inference_knobs(bundle, trained / "models") | {"dataset_dir": cohort, "output_dir": tmp_path / "out"}
    done = two_processes(bundle, **settings)
    assert done.returncode == 1
    assert "predict: 1 of 6 volumes failed, the other 5 are done:" in done.stderr
    assert "broken.nii.gz: Expected gzip-compressed NIfTI" in done.stderr
    assert len(outputs(tmp_path / "out")) == 5


@one_bundle
def test_shards_share_nothing_and_make_up_the_whole(
    bundle: Bundle, trained: Path, cohort: Path, tmp_path: Path
) -> None:
    infer(bundle, cohort, tmp_path / "one", trained / "models", run=BOTH)
    output, expected = tmp_path / "shards", outputs(tmp_path / "one")
    found: dict[str, np.ndarray] = {}
    for number in range(1, 8):  # more shards than volumes: some are empty
        infer(bundle, cohort, output, trained / "models", run=BOTH, shard=f"{number}/7")
        folder = output / f"shard-{number}-of-7"
        share = outputs(folder)
        assert not set(share) & set(found)
        found |= share
        stages = json.loads((folder / "manifest.json").read_text())["stages"]
        assert [stages[name]["status"] for name in ("predict", "maps")] == ["done", "done"]
    assert sorted(path.name for path in output.iterdir()) == [f"shard-{number}-of-7" for number in range(1, 8)]
    assert_same(dict(sorted(found.items())), expected)


@one_bundle
def test_shard_is_restartable_and_leaves_the_others_alone(
    bundle: Bundle, trained: Path, cohort: Path, tmp_path: Path
) -> None:
    def stamps(number: int) -> dict[str, int]:
        folder = tmp_path / f"out/shard-{number}-of-2"
        return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*") if path.suffix in (".gz", ".json")}

    for number in (1, 2):
        infer(bundle, cohort, tmp_path / "out", trained / "models", shard=f"{number}/2")
    first, second = stamps(1), stamps(2)
    lost = next((tmp_path / "out/shard-1-of-2").rglob("*.nii.gz"))
    lost.unlink()
    infer(bundle, cohort, tmp_path / "out", trained / "models", shard="1/2", largest_component=False)
    assert stamps(2) == second
    again = {name: stamp for name, stamp in stamps(1).items() if name.endswith(".gz")}
    assert {name for name, stamp in again.items() if stamp != first[name]} == {lost.name}
    infer(bundle, cohort, tmp_path / "out", trained / "models", shard="1/2", largest_component=True)  # starts over
    assert (tmp_path / "out/shard-1-of-2/predictions.old-1").is_dir()
    assert stamps(2) == second


@one_bundle
def test_malformed_shard_is_refused(bundle: Bundle, trained: Path, cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as failure:
        infer(bundle, cohort, tmp_path / "out", trained / "models", shard="5/4")
    error: BaseException = failure.value
    while error.__cause__ is not None:
        error = error.__cause__
    assert "Expected a shard from 1/N to N/N, such as 3/64 for the third of 64, found '5/4'" in str(error)
    assert not (tmp_path / "out").exists()


@one_bundle
def test_scores_of_a_shard(bundle: Bundle, trained: Path, dataset: Path, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        infer(bundle, dataset, tmp_path, trained / "models", "evaluate.yaml", shard=f"{number}/3")
    tables = [path.read_text().splitlines()[1:] for path in sorted(tmp_path.glob("shard-*-of-3/metrics.csv"))]
    assert sorted(line.split(",")[2] for table in tables for line in table) == ["images/case_5", "images/case_6"]


def test_new_test_volume_trains_nothing_again(bundle: Bundle, trained: Path, dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    shutil.copytree(dataset, tmp_path / "data")
    image, mask = blob_volume(90)
    content = json.loads((dataset / "dataset.json").read_text())
    for name, array in (("images", image), ("labels", mask)):
        write_volume(tmp_path / f"data/{name}/new.nii.gz", array)
    content["test"].append({"image": "images/new.nii.gz", "label": "labels/new.nii.gz"})
    (tmp_path / "data/dataset.json").write_text(json.dumps(content))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.nii.gz")}
    run = train(bundle, tmp_path / "data", tmp_path)
    assert [path.name for path in run.glob("*.old-*")] == ["bundle.old-1"]  # the scores in its card are others now
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (run / "predictions/images/new.nii.gz").is_file()
    label = run / f"pseudo_labels/images/new_{bundle.pseudo_labels[-1]}.nii.gz"
    assert nib.load(label).shape == image.shape
    # its mask gives its tags: another one asks for other pseudo-labels
    stamp = label.stat().st_mtime_ns
    write_volume(tmp_path / "data/labels/new.nii.gz", mask[..., [0, 2, 1, 3, 4, 5]])
    train(bundle, tmp_path / "data", tmp_path)
    assert label.stat().st_mtime_ns > stamp
    assert values(label)[..., 2].max() == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
