"""Rules of MONAI's model zoo, as far as they can be checked without the internet.

What is public: the bundle specification (files, keys of ``metadata.json``), the properties of ``monai.bundle``, and
the zoo's guide to contributors (names of keys, sections of the README, no weights in the repository).
``test_inference`` and ``test_train`` have ``verify_net_in_out`` and ``check_properties``; a training goes through
initialize, run and finalize in every test that calls ``monai.bundle.run``.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
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
from tests.bundles.conftest import REPOSITORY, Bundle, inference_knobs
from tests.conftest import blob_volume, write_volume

SCHEMA = Path(__file__).parent / "meta_schema_20240725.json"
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
TRAINING_KEYS = ("bundle_root", "device", "dataset_dir", "output_dir", "network_def", "train", "validate", "run")
LARGEST_FILE = 1 << 20  # bytes; the zoo keeps weights outside, named by large_files.yml


@pytest.fixture
def folder(bundle: Bundle) -> Path:
    return bundle.configs.parent


@pytest.fixture
def metadata(bundle: Bundle) -> dict[str, Any]:
    return json.loads((bundle.configs / "metadata.json").read_text())


def verify(metadata: dict[str, Any], folder: Path) -> None:
    """MONAI's own check; it takes a schema that is there already instead of downloading it."""
    file = folder / "metadata.json"
    file.write_text(json.dumps(metadata))
    monai.bundle.verify_metadata(meta_file=str(file), filepath=str(SCHEMA))


def test_files_are_those_of_a_bundle(folder: Path) -> None:
    assert [name for name in FILES if not (folder / name).is_file()] == []
    # what a run leaves behind in the folder is ignored by git
    own = [path for part in ("configs", "docs") for path in (folder / part).rglob("*") if path.is_file()]
    assert [path.name for path in own if path.stat().st_size > LARGEST_FILE] == []
    assert (folder / "LICENSE").read_text() == (REPOSITORY / "LICENSE").read_text()


def test_metadata_follow_the_schema(metadata: dict[str, Any], tmp_path: Path) -> None:
    assert Path(metadata["schema"]).name == SCHEMA.name
    verify(metadata, tmp_path)


BREAKS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "required": (lambda m: m.pop("task"), "'task' is a required property"),
    "misspelt": (lambda m: m.update(licence="none"), "'licence' was unexpected"),
    "version": (lambda m: m.update(version="first"), "'first' does not match"),
    "tensor": (lambda m: m["network_data_format"]["inputs"]["image"].pop("dtype"), "'dtype' is a required property"),
    "range": (lambda m: m["network_data_format"]["inputs"]["image"].update(value_range=[0]), "value_range|not valid|too long"),
}


@pytest.mark.parametrize("kind", BREAKS)
def test_metadata_against_the_schema_are_refused(metadata: dict[str, Any], kind: str, tmp_path: Path) -> None:
    damage, message = BREAKS[kind]
    damaged = copy.deepcopy(metadata)
    damage(damaged)
    with pytest.raises(ValueError, match=message):
        verify(damaged, tmp_path)


def test_metadata_say_what_the_bundle_is(metadata: dict[str, Any]) -> None:
    assert metadata["version"] in metadata["changelog"]
    assert metadata["required_packages_version"]["camtools"] == __version__
    for tensors in metadata["network_data_format"].values():
        for tensor in tensors.values():
            assert list(tensor["channel_def"]) == [str(channel) for channel in range(tensor["num_channels"])]
    parser = ConfigParser()
    parser.read_meta(metadata)
    assert [name for name, item in MetaProperties.items() if parser.get(item["id"]) is None] == []


def test_configurations_have_the_usual_keys(bundle: Bundle) -> None:
    inference, training = ConfigParser(), ConfigParser()
    inference.read_config(bundle.files("inference.yaml"))
    training.read_config(bundle.files("train.yaml"))
    # handlers and key_metric are parts of ignite's engines; inference.yaml predicts volume by volume
    needed = [item["id"] for name, item in InferProperties.items() if name not in ("handlers", "key_metric")]
    assert [key for key in (*needed, "imports", "initialize", "run") if key not in inference] == []
    assert [key for key in TRAINING_KEYS if key not in training] == []


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
    workflow.run()
    workflow.finalize()
    mask = nib.load(tmp_path / "out/predictions/a.nii.gz")
    assert mask.shape == (32, 36, 6)
    assert set(np.unique(mask.dataobj)) <= {0, 1}
