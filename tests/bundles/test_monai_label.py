"""The bundles in a real MONAI Label server (camtools.cli.label, camtools.label), through MONAI Label's own client."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from tests.bundles.conftest import BUNDLES, UMCAM, Bundle, infer
from tests.bundles.label_server import Server, copy_bundle, make_bright, serve
from tests.conftest import blob_volume, write_volume

pytest.importorskip("monailabel.client", reason="needs the extra 'label'")
pytestmark = pytest.mark.xdist_group("label server")  # one worker, one server

OBLIQUE = np.array([[-0.9, 0.2, 0.9, 20.0], [0.2, 0.8, -1.2, -7.0], [0.1, 0.3, 4.6, 31.0], [0.0, 0.0, 0.0, 1.0]])


def asymmetric_volume() -> np.ndarray:
    """No two mirror images of it are equal."""
    volume = np.zeros((20, 24, 5), np.int16)
    volume[2:9, 3:6, 1] = 1000
    volume[2:5, 3:18, 3] = 1000
    return volume


@pytest.fixture(scope="module")
def server(train_once: Callable[[Bundle], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("label")
    for bundle in BUNDLES:
        models = train_once(bundle) / "models"
        copy_bundle(bundle, models, folder / "bundles" / bundle.name)
        make_bright(copy_bundle(bundle, models, folder / "bundles" / f"{bundle.name}_bright"))
    for seed in (5, 6):
        write_volume(folder / f"studies/case_{seed}.nii.gz", blob_volume(seed)[0])
    write_volume(folder / "studies/asymmetric.nii.gz", asymmetric_volume(), OBLIQUE)
    photograph = (asymmetric_volume()[..., 3].T / 1000 * 255).astype(np.uint8)
    Image.fromarray(photograph).save(folder / "studies/photograph.png")
    with serve(folder) as running:
        yield running


def test_info_names_what_the_bundles_segment(server: Server) -> None:
    info = server.client.info()
    assert info["name"] == "camtools"
    assert {name: model["labels"] for name, model in info["models"].items() if "_" not in name} == {
        "umcam": {"brain": 1},
        "cfdcam": {"object": 1},
        "ltgradcam": {"object": 1},
        "oeem": {"gland": 1},
        "auto": {"tumour": 1},
    }
    assert {model["dimension"] for model in info["models"].values()} == {3}
    assert info["trainers"]["umcam"]["config"]["classifier_epochs"] == UMCAM.tiny["classifier_epochs"]
    assert info["trainers"]["umcam"]["config"]["model_filename"] == ["model.pt"]


def test_server_listens_on_loopback_alone(server: Server) -> None:
    import psutil

    listening = [link for link in psutil.Process(server.process.pid).net_connections() if link.status == "LISTEN"]
    assert {link.laddr.ip for link in listening} == {"127.0.0.1"}


def test_masks_are_those_of_the_bundle(bundle: Bundle, trained: Path, server: Server, tmp_path: Path) -> None:
    path, answer = server.client.infer(bundle.name, "case_5", {})
    mask, source = nib.load(path), nib.load(server.folder / "studies/case_5.nii.gz")
    assert mask.shape == source.shape
    np.testing.assert_array_equal(mask.affine, source.affine)
    assert mask.get_data_dtype() == np.uint8
    write_volume(tmp_path / "in/case_5.nii.gz", blob_volume(5)[0])
    gate = {} if bundle.name == "oeem" else {"gate": False}
    expected = nib.load(infer(bundle, tmp_path / "in", tmp_path / "out", trained / "models", **gate) / "case_5.nii.gz")
    np.testing.assert_array_equal(mask.dataobj, expected.dataobj)
    assert set(answer["label_names"].values()) == {1}


def test_asymmetric_object_is_not_mirrored(bundle: Bundle, server: Server) -> None:
    path, _ = server.client.infer(f"{bundle.name}_bright", "asymmetric", {})
    mask = nib.load(path)
    np.testing.assert_array_equal(mask.dataobj, asymmetric_volume() > 0)
    np.testing.assert_allclose(mask.affine, OBLIQUE, atol=1e-6)


def test_nrrd_as_slicer_asks_for_it(server: Server) -> None:
    nrrd = pytest.importorskip("nrrd")
    server_options = {"result_extension": ".nrrd", "result_dtype": "uint8"}
    path, _ = server.client.infer("umcam_bright", "asymmetric", server_options)
    values, header = nrrd.read(path)
    np.testing.assert_array_equal(values, asymmetric_volume() > 0)
    to_right_anterior = np.diag([-1, -1, 1])
    assert header["space"] == "left-posterior-superior"
    np.testing.assert_allclose(to_right_anterior @ header["space origin"], OBLIQUE[:3, 3], atol=1e-4)
    np.testing.assert_allclose(to_right_anterior @ header["space directions"].T, OBLIQUE[:3, :3], atol=1e-4)


def test_photographs_come_back_as_photographs(server: Server) -> None:
    path, _ = server.client.infer("umcam_bright", "photograph", {})
    np.testing.assert_array_equal(np.asarray(Image.open(path)), asymmetric_volume()[..., 3].T > 0)


def test_labels_train_the_servers_copy(server: Server) -> None:
    model = server.folder / "app/model/umcam"
    before = torch.load(model / "models/model.pt", weights_only=True)
    missing = server.train("umcam", max_epochs=2)
    assert missing["status"] == "ERROR"
    assert "Expected submitted labels to learn from, found none" in missing["details"][-1]
    for seed in (5, 6):
        label = write_volume(server.folder / f"drawn/case_{seed}.nii.gz", blob_volume(seed)[1])
        server.client.save_label(f"case_{seed}", str(label), "final")
    options = {"max_epochs": 2, "classifier_epochs": 1, "val_split": 0.5}
    status = server.train("umcam", **options)
    assert status["status"] == "DONE", "\n".join(status["details"])
    assert [len(history(model, part)) for part in ("classifier", "segmenter")] == [1, 2]
    first = torch.load(model / "models/model.pt", weights_only=True)
    assert any(not torch.equal(first[key], before[key]) for key in before)
    checked = json.loads((model / "output/dataset_check.json").read_text())
    assert sorted(row["split"] for row in checked) == ["training", "validation"]
    assert sorted(row["case"].rpartition("-")[0] for row in checked) == ["case_5", "case_6"]
    path, _ = server.client.infer("umcam", "case_5", {})
    assert nib.load(path).shape == blob_volume(5)[0].shape
    source = torch.load(server.folder / "bundles/umcam/models/model.pt", weights_only=True)
    assert all(torch.equal(source[key], before[key]) for key in before)

    again = server.train("umcam", **options)  # goes on from the weights it has
    assert again["status"] == "DONE", "\n".join(again["details"])
    assert (model / "output/segmenter.old-1/model.pt").is_file()
    assert not (model / "output/classifier.old-1").exists()


def history(model: Path, part: str) -> list[dict[str, float]]:
    return json.loads((model / "output" / part / "history.json").read_text())


def test_server_stops_by_its_process_id(server: Server) -> None:
    server.process.terminate()
    server.process.wait(timeout=60)
    with pytest.raises(OSError, match="refused"):
        server.client.info()
