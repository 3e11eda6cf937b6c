"""``metadata.json`` of every bundle against the schema, and the schema against what MONAI's own accepts and refuses.

The keys that are required, and the variants that must pass, are those of meta_schema_20240725.json as MONAI publishes
it (github.com/Project-MONAI/project-monai.github.io, public/schema) and of bundles of the model zoo that name it:
several networks (brats_mri_generative_diffusion 1.1.5), an app without a version (vista3d 0.6.0), ranges of versions
(ci/get_bundle_requirements.py). The metadata of both bundles, and of an older one that both must refuse
(pathology_nuclei_segmentation_classification 0.1.0), were checked by hand against both schemas.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monai.bundle
import pytest

from tests.bundles.conftest import UMCAM, Bundle

SCHEMA = Path(__file__).parent / "meta_schema_20240725.json"
REQUIRED = (
    "schema",
    "version",
    "monai_version",
    "pytorch_version",
    "numpy_version",
    "required_packages_version",
    "task",
    "description",
    "authors",
    "copyright",
    "network_data_format",
)
TENSOR_REQUIRED = ("type", "format", "num_channels", "spatial_shape", "dtype", "value_range")


def read(bundle: Bundle) -> dict[str, Any]:
    return json.loads((bundle.configs / "metadata.json").read_text())


def verify(metadata: dict[str, Any], folder: Path) -> None:
    """MONAI's own check; it takes a schema that is there already instead of downloading it."""
    file = folder / "metadata.json"
    file.write_text(json.dumps(metadata))
    monai.bundle.verify_metadata(meta_file=str(file), filepath=str(SCHEMA))


def image(metadata: dict[str, Any]) -> dict[str, Any]:
    return metadata["network_data_format"]["inputs"]["image"]


def test_metadata_follow_the_schema(bundle: Bundle, tmp_path: Path) -> None:
    metadata = read(bundle)
    assert Path(metadata["schema"]).name == SCHEMA.name
    verify(metadata, tmp_path)


REFUSED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "misspelt": (lambda m: m.update(licence="none"), "'licence' was unexpected|'licence' does not match"),
    "version": (lambda m: m.update(version="first"), "'first' does not match"),
    "package": (lambda m: m["required_packages_version"].update(nibabel="new"), "'new' does not match"),
    "changelog": (lambda m: m.pop("changelog"), "'changelog' is a required property"),
    "text": (lambda m: m.update(task=""), "too short|non-empty"),
    "outputs": (lambda m: m["network_data_format"].pop("outputs"), "'outputs' is a required property"),
    "range": (lambda m: image(m).update(value_range=[0]), "too long|not valid under any of"),
    "shape": (lambda m: image(m).update(spatial_shape=[1.5]), "1.5 is not of type 'integer', 'string'"),
    "channels": (lambda m: image(m).update(num_channels="one"), "'one' is not of type 'integer'"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_schema_refuses(kind: str, tmp_path: Path) -> None:
    damage, message = REFUSED[kind]
    metadata = read(UMCAM)
    damage(metadata)
    with pytest.raises(ValueError, match=message):
        verify(metadata, tmp_path)


def test_schema_refuses_metadata_without_a_required_key(tmp_path: Path) -> None:
    for key in REQUIRED:
        metadata = read(UMCAM)
        del metadata[key]
        with pytest.raises(ValueError, match=rf"'{key}' is a required property|must provide the `{key}` field"):
            verify(metadata, tmp_path)
    for key in TENSOR_REQUIRED:
        metadata = read(UMCAM)
        del image(metadata)[key]
        message = rf"is not of type 'number', 'string', 'boolean'|'{key}' is a required property"  # jsonschema 3 and 4
        with pytest.raises(ValueError, match=message):
            verify(metadata, tmp_path)


def several_networks(metadata: dict[str, Any]) -> None:
    autoencoder = copy.deepcopy(metadata["network_data_format"])
    autoencoder["inputs"]["image"] |= {"type": "noise", "format": "timesteps", "dtype": "long", "spatial_shape": []}
    del autoencoder["inputs"]["image"]["channel_def"]
    autoencoder["inputs"]["guidance"] = 1.5
    metadata["autoencoder_data_format"] = autoencoder


ACCEPTED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "several networks": several_networks,
    "app without a version": lambda m: m.update(supported_apps={"vista3d-nim": ""}),
    "range of versions": lambda m: m["required_packages_version"].update(nibabel=">=5.2"),
    "post-processed outputs": lambda m: m["network_data_format"].update(
        post_processed_outputs=m["network_data_format"]["outputs"]
    ),
}


@pytest.mark.parametrize("kind", ACCEPTED)
def test_schema_accepts(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    metadata = read(UMCAM)
    ACCEPTED[kind](metadata)
    assert metadata != read(UMCAM)
    with caplog.at_level("INFO"):
        verify(metadata, tmp_path)
    assert "metadata is verified with no error" in caplog.text
