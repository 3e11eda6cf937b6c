"""MONAI Label's application behind the guard, in this process (camtools.label.server, camtools.label.store)."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets import BasicUNet

from camtools.data.errors import DataError
from camtools.label import prepare_app, trained_bundles
from tests.bundles.conftest import UMCAM
from tests.conftest import blob_volume, write_volume

pytest.importorskip("monailabel.interfaces.app", reason="needs the extra 'label'")

ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An app with one bundle of random weights, and three studies."""
    folder = tmp_path_factory.mktemp("served")
    bundle = folder / "bundles/umcam"
    shutil.copytree(UMCAM.configs.parent, bundle, ignore=shutil.ignore_patterns("models", "output"))
    (bundle / "models").mkdir()
    features = (16, 16, 32, 64, 128, 16)
    network = BasicUNet(spatial_dims=2, in_channels=1, out_channels=2, features=features)
    torch.save(network.state_dict(), bundle / "models/model.pt")
    prepare_app(trained_bundles(folder / "bundles"), folder / "app")
    for name in ("case_5", "$case @x::y%#1"):
        write_volume(folder / f"studies/{name}.nii.gz", blob_volume(5)[0])
    (folder / "studies/broken.nii.gz").write_bytes(b"nothing")
    write_volume(folder / "elsewhere/secret.nii.gz", blob_volume(6)[0])
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[Any]:
    from monailabel.config import settings
    from starlette.testclient import TestClient

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "MONAI_LABEL_APP_DIR", str(folder / "app"))
        patch.setattr(settings, "MONAI_LABEL_STUDIES", str(folder / "studies"))
        patch.setattr(settings, "MONAI_LABEL_APP_CONF", {"models": "umcam"})
        patch.setattr(settings, "MONAI_LABEL_DATASTORE_AUTO_RELOAD", False)
        patch.setattr(settings, "MONAI_LABEL_SESSION_PATH", str(folder / "sessions"))
        patch.setattr(settings, "MONAI_LABEL_CORS_ORIGINS", [])
        patch.setattr(tarfile.TarFile, "extraction_filter", None, raising=False)
        from camtools.label.server import guarded_app

        yield TestClient(guarded_app(), base_url=ADDRESS, raise_server_exceptions=False)


def infer(client: Any, image: str = "case_5", params: dict[str, Any] | None = None, **query: str) -> Any:
    query = {"image": image, "output": "image"} | query
    return client.post("/infer/umcam", params=query, data={"params": json.dumps({"device": "cpu"} | (params or {}))})


@pytest.fixture
def trap(tmp_path: Path) -> Callable[[], str]:
    """Code that leaves a file; after the test there must be none."""
    assert not (tmp_path / "ran").exists()
    return lambda: f"$__import__('pathlib').Path({str(tmp_path / 'ran')!r}).write_text('x')"


def test_pages_of_the_server_and_programs_are_answered(client: Any) -> None:
    assert client.get("/info/").json()["name"] == "camtools"
    own = client.get("/info/", headers={"Origin": ADDRESS, "Sec-Fetch-Site": "same-origin"})
    assert own.status_code == 200
    assert own.headers.get("access-control-allow-origin") in (ADDRESS, "*")
    foreign = client.get("/info/", headers={"Origin": "http://foreign.example"})
    assert foreign.status_code == 403
    assert "access-control-allow-origin" not in foreign.headers
    assert client.get("/info/", headers={"Host": "rebound.example:8000"}).status_code == 403


@pytest.mark.parametrize("image", ["case_5", "$case @x::y%#1"])
def test_volumes_are_segmented_whatever_their_names(client: Any, image: str) -> None:
    answer = infer(client, image, {"result_extension": ".nii.gz"})
    assert answer.status_code == 200, answer.text
    assert len(answer.content) > 100


@pytest.mark.parametrize(
    "field", ["device", "model_filename", "result_extension", "result_dtype", "logging", "label_tag"]
)
def test_code_in_a_request_does_not_run(client: Any, field: str, trap: Callable[[], str], tmp_path: Path) -> None:
    answer = infer(client, params={field: trap()})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(f"{field}: expected ")
    training = client.post("/train/umcam", params={"run_sync": True}, json={"device": trap(), "pretrained": False})
    assert training.status_code == 400
    assert not (tmp_path / "ran").exists()


def test_files_elsewhere_are_not_read(client: Any, folder: Path) -> None:
    secret = str(folder / "elsewhere/secret.nii.gz")
    assert infer(client, secret).status_code == 400
    by_params = infer(client, params={"image": secret})
    assert by_params.status_code == 400
    assert by_params.json()["detail"].startswith("image: expected the name of a volume in ")
    unknown = infer(client, "case_7")
    assert unknown.status_code == 400
    slide = client.post("/infer/wsi/umcam", params={"image": "case_5"}, json={})
    assert slide.status_code == 400
    assert "No bundle serves it" in slide.json()["detail"]


def test_an_image_that_is_sent_is_segmented(client: Any, folder: Path) -> None:
    with (folder / "elsewhere/secret.nii.gz").open("rb") as file:
        answer = client.post("/infer/umcam", params={"output": "image"}, files={"file": ("a.nii.gz", file)})
    assert answer.status_code == 200, answer.text


def test_a_broken_file_is_named_in_the_answer(client: Any) -> None:
    answer = infer(client, "broken")
    assert answer.status_code == 500
    assert "broken.nii.gz" in answer.json()["detail"]
    assert "Failed to instantiate" not in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("/datastore/image", {"image": "../../outside"}, "file"),
        ("/datastore/image", {"image": "/tmp/outside"}, "file"),
        ("/datastore/label", {"image": "case_5", "tag": "../../../outside"}, "label"),
        ("/datastore/label", {"image": "../case_5"}, "label"),
        ("/datastore/image", {"image": "datastore_v2"}, "json"),
        ("/datastore/image", {"image": "main"}, "py"),
    ],
)
def test_uploads_stay_below_the_studies(
    client: Any, folder: Path, path: str, query: dict[str, str], field: str
) -> None:
    before = sorted(folder.rglob("*"))
    suffix = field if field in ("json", "py") else "nii.gz"
    files = {"label" if field == "label" else "file": (f"x.{suffix}", b"{}")}
    answer = client.put(path, params=query, files=files)
    assert answer.status_code == 400
    assert "expected" in answer.json()["detail"]
    assert sorted(folder.rglob("*")) == before


def test_an_archive_cannot_write_elsewhere(client: Any, tmp_path: Path) -> None:
    target = tmp_path / "outside.txt"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo(f"../../../../../../../../..{target}")
        entry.size = 1
        archive.addfile(entry, io.BytesIO(b"x"))
    files = {"files": ("a.tar", packed.getvalue())}
    answer = client.put("/session/", params={"uncompress": True}, files=files)
    assert answer.status_code >= 400
    assert not target.exists()
    missing = client.get(f"/session/{uuid.uuid4()}")
    assert missing.status_code == 404


def test_training_names_the_label_that_does_not_fit(client: Any, folder: Path) -> None:
    mask = blob_volume(5)[1]
    label = write_volume(folder / "drawn/label.nii.gz", mask[:-2])
    with Path(label).open("rb") as file:
        saved = client.put("/datastore/label", params={"image": "case_5"}, files={"label": ("l.nii.gz", file)})
    assert saved.status_code == 200
    options = {"max_epochs": 1, "classifier_epochs": 1, "val_split": 0, "device": "cpu", "pretrained": False}
    answer = client.post("/train/umcam", params={"run_sync": True}, json=options)
    assert answer.status_code == 500
    assert "labels/final/case_5.nii.gz" in answer.json()["detail"]
    client.delete("/datastore/label", params={"id": "case_5", "tag": "final"})


@pytest.mark.parametrize(
    "change",
    [
        {"images_dir": "/"},
        {"labels_dir": "../.."},
        {"objects": {"x": {"image": {"ext": "/../../elsewhere/secret.nii.gz"}}}},
        {"objects": {"../elsewhere/secret": {"image": {"ext": ".nii.gz"}}}},
        {"objects": {"x": {"image": {"ext": ""}, "labels": {"../../..": {"ext": ""}}}}},
    ],
)
def test_an_index_that_leads_elsewhere_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    from camtools.label.store import FolderStore

    index = {"name": "", "description": "", "images_dir": ".", "labels_dir": "labels", "objects": {}} | change
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies/datastore_v2.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match=r"datastore_v2\.json in the folder of the volumes: expected plain names"):
        FolderStore(str(tmp_path / "studies"), read_only=True).datalist()


def test_paths_of_the_datastore_are_never_evaluated(tmp_path: Path) -> None:
    """A path of a label or volume stays the text it is, wherever MONAI's signs stand in it."""
    from camtools.label.train import BundleTraining

    bundle = tmp_path / "bundle"
    (bundle / "configs").mkdir(parents=True)
    (bundle / "configs/metadata.json").write_text(json.dumps({"version": "0", "monai_version": "1"}))
    (bundle / "configs/train.yaml").write_text(
        "bundle_root: .\ndevice: cpu\ninitial_weights: null\nsplits: {test: []}\n"
        "train: {dataset: {data: []}, handlers: [], trainer: {max_epochs: 1}}\nvalidate: {dataset: {data: []}}\n"
        "imports: [$import json]\nrun: [\"$json.dump(@train#dataset#data, open(@bundle_root + '/seen.json', 'w'))\"]\n"
    )
    code = f"$__import__('pathlib').Path({str(tmp_path / 'ran')!r}).write_text('x')"
    pairs = [{"image": sign, "label": "/a::b@##c%#d.nii"} for sign in (code, "@bundle_root", "%bundle_root", "/$a.nii")]

    class Store:
        def datalist(self) -> list[dict[str, str]]:
            return pairs

    BundleTraining(str(bundle), {})({"device": "cpu", "max_epochs": 1, "val_split": 0, "pretrained": False}, Store())
    assert json.loads((bundle / "seen.json").read_text()) == pairs
    assert not (tmp_path / "ran").exists()


def test_several_gpus_refuse_paths_that_monai_would_change() -> None:
    from camtools.label.train import BundleTraining

    task = object.__new__(BundleTraining)
    task.items = [{"image": "/a.nii", "label": "/a::b.nii"}]
    with pytest.raises(DataError, match=r"^/a::b\.nii: expected a path without ::, @#, %# for a training on several"):
        task.run_multi_gpu({}, ["false"], {})


def test_a_failed_process_of_several_gpus_is_told() -> None:
    import sys

    from camtools.label.train import BundleTraining

    task = object.__new__(BundleTraining)
    task.items = []
    command = [sys.executable, "-c", "print('camtools.data.errors.DataError: a.nii is empty.'); exit(3)"]
    with pytest.raises(RuntimeError, match=r"exit code 3\. camtools\.data\.errors\.DataError: a\.nii is empty\."):
        task.run_multi_gpu({}, command, {})


def test_a_bundle_without_weights_is_named(folder: Path, tmp_path: Path) -> None:
    from camtools.label.infer import BundleInference

    copied = Path(shutil.copytree(folder / "bundles/umcam", tmp_path / "umcam"))
    (copied / "models/model.pt").rename(copied / "models/model.ts")
    with pytest.raises(FileNotFoundError, match=r"Expected trained weights in .*model\.pt, found none\. Put them"):
        BundleInference(str(copied), {})


def test_weights_that_hold_code_are_not_loaded(folder: Path, tmp_path: Path) -> None:
    from camtools.label.infer import BundleInference

    class Code:
        def __reduce__(self) -> Any:
            return Path.write_text, (tmp_path / "ran", "x")

    copied = Path(shutil.copytree(folder / "bundles/umcam", tmp_path / "umcam"))
    torch.save({"weight": Code()}, copied / "models/model.pt")
    image = write_volume(tmp_path / "a.nii.gz", np.zeros((32, 32, 4), np.float32))
    with pytest.raises(RuntimeError, match="(?i)weights.only"):
        BundleInference(str(copied), {})({"image": str(image), "device": "cpu"})
    assert not (tmp_path / "ran").exists()
