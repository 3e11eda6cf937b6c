"""Training of a bundle in MONAI Label."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.tasks.train.bundle import BundleTrainTask

from camtools.data.errors import DataError
from camtools.label.errors import told
from camtools.label.requests import TRAIN, checked

__all__ = ["BundleTraining"]

# knobs of train.yaml that the viewer offers in addition to MONAI Label's own
KNOBS = ("pretrain_epochs", "classifier_epochs", "min_area_fraction")
# options of MONAI Label with a fixed value, or that only the owner of the server may set
FIXED = ("run_id", "tracking_uri")
# what MONAI's configuration reads as references, wherever it stands in a text
REFERENCES = ("::", "@#", "%#")


class BundleTraining(BundleTrainTask):
    """MONAI Label's task for a bundle, which learns only from the labels that users submitted.

    ``max_epochs`` applies to the network that is trained last (``train#trainer``). With ``pretrained`` it starts from
    the bundle's current weights.

    Args:
        path: folder of the bundle.
        conf: settings of the server.
    """

    def config(self) -> dict[str, Any]:
        """Options that the viewer shows, with their defaults."""
        options: dict[str, Any] = super().config()
        options = {name: value for name, value in options.items() if name not in FIXED}
        return options | {"model_filename": ["model.pt"]} | self._knobs()

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train on the labels in ``datastore``.

        Raises:
            RequestError: a value of the request that :data:`camtools.label.requests.TRAIN` refuses.
            ValueError: the datastore has no labels.
            DataError: a volume or label cannot be used; the message names the file, the problem and what to do.
            RuntimeError: any other error, with the message of its root cause.
        """
        self.request = {"model": Path(self.bundle_path).name} | checked(request, TRAIN)
        if not datastore.datalist():
            raise ValueError(
                "Expected submitted labels to learn from, found none in the datastore. Label some volumes first: "
                "on every slice that shows the object a mark is enough."
            )
        with told():
            result: dict[str, Any] = super().__call__(self.request | {"run_id": "run"}, datastore)
        return result

    def run_multi_gpu(self, request: dict[str, Any], cmd: list[str], env: dict[str, str]) -> None:
        """Start MONAI's processes, which read the list of volumes from a configuration file.

        Raises:
            DataError: a path that MONAI's configuration would read as a reference.
            RuntimeError: a process failed; the message names its error.
        """
        for path in (path for item in self.items for path in item.values()):
            if any(sign in path for sign in REFERENCES):
                raise DataError(
                    f"{path}: expected a path without {', '.join(REFERENCES)} for a training on several GPUs, "
                    "where MONAI reads these as references. Rename it, or train with multi_gpu off."
                )
        process = subprocess.Popen(cmd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        found = ""
        for line in process.stdout or ():
            print(line, end="", flush=True)
            found = line.strip() if "Error: " in line else found
        if process.wait():
            raise RuntimeError(f"Expected a training without errors, found exit code {process.returncode}. {found}")

    def _knobs(self) -> dict[str, Any]:
        return {name: self.bundle_config[name] for name in KNOBS if name in self.bundle_config.config}

    def _load_checkpoint(self, model_pytorch: str, pretrained: bool, train_handlers: list[Any]) -> None:
        """No handler: ``initial_weights`` does it, so that a stage knows which weights it started from."""

    def _update_overrides(self, overrides: dict[str, Any]) -> None:
        models = Path(self.bundle_path) / "models"
        overrides["export_dir"] = str(models)  # a bundle that a training wrote has another default
        starts, goes_on = self.bundle_config.get("initial_weights"), self.request.get("pretrained", True)
        if goes_on and starts is None and (models / "model.pt").is_file():
            overrides["initial_weights"] = str(models / "model.pt")
        elif not goes_on and starts is not None:
            overrides["initial_weights"] = "$None"  # MONAI passes over None
        overrides |= {name: self.request[name] for name in self._knobs() if name in self.request}
        # not the splits of the bundle's built-in data
        overrides.setdefault(self.const.key_validate_dataset_data(), [])
        self.items: list[dict[str, str]] = []
        for key in (self.const.key_train_dataset_data(), self.const.key_validate_dataset_data()):
            self.items += overrides[key]
            # MONAI looks for $, @ and % in lists, and in tuples it does not: a path stays a path
            overrides[key] = tuple(overrides[key])
        overrides["splits#test"] = []
