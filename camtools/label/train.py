"""Training of a bundle in MONAI Label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.tasks.train.bundle import BundleTrainTask

__all__ = ["BundleTraining"]

# knobs of train.yaml that the viewer offers beside MONAI Label's own
KNOBS = ("pretrain_epochs", "classifier_epochs", "min_area_fraction")


class BundleTraining(BundleTrainTask):
    """MONAI Label's task for a bundle, which learns from the labels that users submitted and from nothing else.

    ``max_epochs`` is that of the network trained last (``train#trainer``). With ``pretrained`` it starts from the
    bundle's present weights.

    Args:
        path: folder of the bundle.
        conf: settings of the server.
    """

    def config(self) -> dict[str, Any]:
        """Options that the viewer shows, with their defaults."""
        options: dict[str, Any] = super().config()
        return options | {"model_filename": ["model.pt"]} | self._knobs()

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train on the labels in ``datastore``.

        Raises:
            ValueError: it has no labels.
        """
        if not datastore.datalist():
            raise ValueError(
                "Expected submitted labels to learn from, found none in the datastore. Label some volumes first: "
                "on every slice that shows the object a mark is enough."
            )
        self.request = request
        result: dict[str, Any] = super().__call__(request, datastore)
        return result

    def _knobs(self) -> dict[str, Any]:
        return {name: self.bundle_config[name] for name in KNOBS if name in self.bundle_config.config}

    def _load_checkpoint(self, model_pytorch: str, pretrained: bool, train_handlers: list[Any]) -> None:
        """No handler: ``initial_weights`` does it, so that a stage knows which weights it started from."""

    def _update_overrides(self, overrides: dict[str, Any]) -> None:
        weights = Path(self.bundle_path) / "models" / "model.pt"
        if self.request.get("pretrained", True) and weights.is_file():
            overrides["initial_weights"] = str(weights)
        overrides |= {name: self.request[name] for name in self._knobs() if name in self.request}
        # not the splits of the bundle's built-in data
        overrides.setdefault(self.const.key_validate_dataset_data(), [])
        overrides["splits#test"] = []
