"""The MONAI Label app: one task of inference and one of training for each bundle."""

from __future__ import annotations

import logging
import shutil
from typing import Any

from monailabel.interfaces.app import MONAILabelApp
from monailabel.tasks.activelearning.first import First
from monailabel.tasks.activelearning.random import Random

from camtools import __version__
from camtools.label.infer import BundleInference
from camtools.label.train import BundleTraining

__all__ = ["BundlesApp"]

logger = logging.getLogger("camtools")


class BundlesApp(MONAILabelApp):
    """What ``camtools label`` serves.

    Args:
        app_dir: folder with ``model/<name>`` for each bundle, see :func:`camtools.label.prepare_app`.
        studies: folder of the volumes, or address of a DICOMweb server.
        conf: ``models``: names of the bundles, separated by commas.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        self.bundles = {name: f"{app_dir}/model/{name}" for name in conf["models"].split(",")}
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name="camtools",
            description="Segmentation from image-level labels",
            version=__version__,
        )

    def init_infers(self) -> dict[str, BundleInference]:
        """One task of inference for each bundle."""
        return {name: BundleInference(path, self.conf) for name, path in self.bundles.items()}

    def init_trainers(self) -> dict[str, BundleTraining]:
        """One task of training for each bundle."""
        return {name: BundleTraining(path, self.conf) for name, path in self.bundles.items()}

    def init_strategies(self) -> dict[str, Any]:
        """Which volume to label next."""
        return {"random": Random(), "first": First()}

    def _download_dcmqi_tools(self) -> None:
        """MONAI Label would fetch a program when it starts on a DICOMweb server; here nothing is fetched."""
        if shutil.which("itkimage2segimage") is None:
            logger.warning(
                "Submitted labels cannot be stored as DICOM-SEG: expected the program itkimage2segimage on the path, "
                "found none. Install it (pip install dcmqi) and start again."
            )
