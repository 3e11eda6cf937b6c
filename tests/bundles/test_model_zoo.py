"""Rules of MONAI's model zoo, as far as they can be checked without the internet.

Where the rules come from (github.com/Project-MONAI): files and keys of ``metadata.json`` from MONAI's
docs/source/mb_specification.rst; the rest from model-zoo, CONTRIBUTING.md ("Preferred Files and Keys", "License
Format", "Model storage"), ci/verify_bundle.py (necessary files, ``name``, version in the changelog,
``verify_metadata``, ``verify_net_in_out`` with its default sizes, ``ckpt_export``) and ci/get_bundle_requirements.py
(what is installed). The schema has ``test_metadata_schema``, ``check_properties`` has ``test_inference`` and
``test_train``, ``ckpt_export`` has ``test_export``. The zoo wants ``models/model.pt``, or a ``large_files.yml`` that
says where it is: these bundles come without trained weights, and a training writes them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import monai.bundle
import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.properties import InferProperties, MetaProperties

from camtools import __version__
from camtools.tuning import FinishChoice, write_finish
from tests.bundles.conftest import REPOSITORY, Bundle, inference_knobs
from tests.conftest import blob_volume, write_volume

FILES = (
    "LICENSE",
    "configs/inference.yaml",
    "configs/logging.conf",
    "configs/metadata.json",
    "configs/train.yaml",
    "docs/README.md",
    "docs/data_license.txt",
)
SECTIONS = ("Data", "Input", "Output", "Performance", "Commands", "References", "License")
TRAINING_KEYS = (
    *("bundle_root", "device", "dataset_dir", "output_dir", "network_def", "run"),
    *("train#trainer", "train#trainer#max_epochs", "train#dataset", "train#dataset#data", "train#handlers"),
    *("validate#evaluator", "validate#handlers", "validate#dataset", "validate#dataset#data"),
)
# an argument of an engine or dataset of train or validate, and the key beside it that has to define it
DEFINED = {
    "trainer": {"inferer": "inferer", "postprocessing": "postprocessing", "train_handlers": "handlers"},
    "evaluator": {
        "inferer": "inferer",
        "postprocessing": "postprocessing",
        "key_val_metric": "key_metric",
        "val_handlers": "handlers",
    },
    "dataset": {"transform": "preprocessing"},
}
LARGEST_FILE = 1 << 20  # bytes; the zoo allows 25 MB, and keeps weights outside


@pytest.fixture
def folder(bundle: Bundle) -> Path:
    return bundle.configs.parent


@pytest.fixture
def metadata(bundle: Bundle) -> dict[str, Any]:
    return json.loads((bundle.configs / "metadata.json").read_text())


def test_files_are_those_of_a_bundle(folder: Path) -> None:
    assert [name for name in FILES if not (folder / name).is_file()] == []
    # what a run leaves behind in the folder is ignored by git
    own = [path for part in ("configs", "docs") for path in (folder / part).rglob("*") if path.is_file()]
    assert [path.name for path in own if path.stat().st_size > LARGEST_FILE] == []
    assert (folder / "LICENSE").read_text() == (REPOSITORY / "LICENSE").read_text()


def test_metadata_say_what_the_bundle_is(metadata: dict[str, Any]) -> None:
    assert metadata["version"] in metadata["changelog"]
    assert metadata["required_packages_version"]["camtools"] == __version__
    assert metadata["name"]
    for tensors in metadata["network_data_format"].values():
        for tensor in tensors.values():
            assert list(tensor["channel_def"]) == [str(channel) for channel in range(tensor["num_channels"])]
    parser = ConfigParser()
    parser.read_meta(metadata)
    assert [name for name, item in MetaProperties.items() if parser.get(item["id"]) is None] == []


def test_versions_are_those_that_camtools_is_tested_with(metadata: dict[str, Any]) -> None:
    project = (REPOSITORY / "pyproject.toml").read_text()
    for name, version in (("monai", metadata["monai_version"]), ("torch", metadata["pytorch_version"])):
        assert f'"{name}=={version}' in project
    for name, version in metadata["required_packages_version"].items():
        bound = __version__ if name == "camtools" else re.search(rf'"{name}>=([\d.]+)"', project)[1]
        assert version.split(".")[: bound.count(".") + 1] == bound.split("."), name


def test_network_takes_the_smallest_size_of_the_metadata(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        monai.bundle.verify_net_in_out(  # as ci/verify_bundle.py calls it: n = 1
            net_id="network_def",
            meta_file=bundle.files("metadata.json")[0],
            config_file=bundle.files("inference.yaml")[0],
            bundle_root=str(bundle.configs.parent),
            device="cpu",
        )
    assert "data shape of network is verified with no error" in caplog.text


def test_configurations_have_the_usual_keys(bundle: Bundle) -> None:
    inference, training = ConfigParser(), ConfigParser()
    inference.read_config(bundle.files("inference.yaml"))
    training.read_config(bundle.files("train.yaml"))
    # handlers and key_metric are parts of ignite's engines; inference.yaml predicts volume by volume
    needed = [item["id"] for name, item in InferProperties.items() if name not in ("handlers", "key_metric")]
    assert [key for key in (*needed, "imports", "initialize", "run") if key not in inference] == []
    assert [key for key in TRAINING_KEYS if key not in training] == []
    for section in ("train", "validate"):
        for part, arguments in DEFINED.items():
            for argument, key in arguments.items():
                if argument in training[section].get(part, {}):
                    assert training[section][part][argument] == f"@{section}#{key}"
                    assert key in training[section]


def test_no_path_of_a_machine(folder: Path) -> None:
    # "$@bundle_root + '/models'" is not absolute
    absolute = re.compile(r"""(?<=[\s'"(=])(?<!\+ ['"])(/|~/|[A-Za-z]:\\)\w""")
    assert absolute.search("dataset_dir: /data/brats")
    found = [line for path in (folder / "configs").iterdir() for line in path.read_text().splitlines()]
    assert [line for line in found if absolute.search(line)] == []


def test_configurations_have_no_key_twice(folder: Path) -> None:
    for path in (folder / "configs").glob("*.yaml"):
        keys = [key.value for key, _ in yaml.compose(path.read_text()).value]
        assert sorted(keys) == sorted(set(keys)), path.name


def test_readme_has_the_sections_of_the_zoo(folder: Path) -> None:
    headings = re.findall(r"^## (.+)$", (folder / "docs/README.md").read_text(), re.MULTILINE)
    assert [name for name in SECTIONS if name not in headings] == []


def test_license_of_the_data_names_the_phantoms_of_the_bundle(bundle: Bundle, folder: Path) -> None:
    settings = ConfigParser.load_config_file(bundle.configs / "train.yaml")
    kind = re.search(r"builtin_dataset\('(\w+)'", settings["dataset_dir"])[1]
    assert f"camtools phantom --kind {kind}`" in (folder / "docs/data_license.txt").read_text()


def test_inference_initializes_runs_and_finalizes(bundle: Bundle, tmp_path: Path) -> None:
    write_volume(tmp_path / "in/a.nii.gz", blob_volume(0)[0])
    torch.manual_seed(0)
    workflow = ConfigWorkflow(
        config_file=bundle.files("inference.yaml"),
        meta_file=bundle.files("metadata.json"),
        logging_file=False,
        workflow_type="infer",
        **inference_knobs(bundle, tmp_path),
        dataset_dir=str(tmp_path / "in"),
        output_dir=str(tmp_path / "out"),
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    assert workflow.version == workflow.parser.get("_meta_::version")
    torch.save(workflow.network_def.state_dict(), tmp_path / "model.pt")
    write_finish(FinishChoice(), tmp_path / "finish.json")
    workflow.run()
    workflow.finalize()
    mask = nib.load(tmp_path / "out/predictions/a.nii.gz")
    assert mask.shape == (32, 36, 6)
    assert set(np.unique(mask.dataobj)) <= {0, 1}


def test_switches_reach_every_network(bundle: Bundle) -> None:
    amp = {"NetworkTrainer", "PredictionPipeline", "ActivationMapsd", "PatchClassMapsd"}
    wanted = {"amp": amp, "channels_last": {"NetworkTrainer", "PredictionPipeline"}}
    for name in ("train.yaml", "inference.yaml"):
        text = (bundle.configs / name).read_text()
        components = [node for node in components_of(yaml.safe_load(text)) if "camtools." in node["_target_"]]
        for switch, classes in wanted.items():
            users = [node for node in components if node["_target_"].rpartition(".")[2] in classes]
            assert users
            assert [node["_target_"] for node in users if node.get(switch) != f"@{switch}"] == []


def components_of(config: Any) -> list[dict[str, Any]]:
    values = config.values() if isinstance(config, dict) else config if isinstance(config, list) else ()
    own = [config] if isinstance(config, dict) and isinstance(config.get("_target_"), str) else []
    return own + [node for value in values for node in components_of(value)]
