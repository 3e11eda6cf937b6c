"""The MONAI Label app: one task of inference and one of training for each bundle."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from monailabel.config import settings
from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.tasks.activelearning.first import First
from monailabel.tasks.activelearning.random import Random

from camtools import __version__
from camtools.label.infer import BundleInference
from camtools.label.requests import BATCH, INFER, NEXT, RequestError, checked
from camtools.label.store import DicomStore, FolderStore
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
        """One task of training for each bundle that can train. One without ``train.yaml`` cannot."""
        able = {name: path for name, path in self.bundles.items() if Path(path, "configs", "train.yaml").is_file()}
        return {name: BundleTraining(path, self.conf) for name, path in able.items()}

    def init_strategies(self) -> dict[str, Any]:
        """Which volume to label next."""
        return {"random": Random(), "first": First()}

    def init_datastore(self) -> Datastore:
        """The folder of the volumes, or the copy of the volumes of a DICOMweb server. No name can lead out of it."""
        if not self.studies.startswith(("http://", "https://")):
            return FolderStore(
                self.studies,
                extensions=settings.MONAI_LABEL_DATASTORE_FILE_EXT,
                auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
                read_only=settings.MONAI_LABEL_DATASTORE_READ_ONLY,
            )
        store: Datastore = super().init_datastore()
        if isinstance(store, DICOMWebDatastore):
            store.__class__ = DicomStore  # MONAI Label creates it from many settings and chooses the class
        return store

    def infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Segment one volume of the datastore, or an uploaded one.

        Raises:
            RequestError: a value that :data:`camtools.label.requests.INFER` refuses, or another file as image.
            DataError: the image cannot be used.
        """
        store = datastore or self.datastore()
        known = checked(request, INFER)
        known["image"] = self._image(request.get("image"), store, bool(known.get("save_label")))
        answer: dict[str, Any] = super().infer(known, store)
        return answer

    def batch_infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Segment all volumes of the datastore, or the named ones.

        Raises:
            RequestError: a value that :data:`camtools.label.requests.BATCH` refuses.
        """
        known = checked(request, BATCH)
        if not torch.cuda.is_available():
            known["multi_gpu"] = False  # MONAI Label would count GPUs and divide by their number
        answer: dict[str, Any] = super().batch_infer(known, datastore)
        return answer

    def infer_wsi(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Refuse every request: this task could open any file of the machine.

        Raises:
            RequestError: always.
        """
        raise RequestError("Path: expected /infer/NAME, found the path for whole-slide images. No bundle serves it.")

    def next_sample(self, request: dict[str, Any]) -> dict[str, Any]:
        """The volume to label next.

        Raises:
            RequestError: a value that :data:`camtools.label.requests.NEXT` refuses.
        """
        answer: dict[str, Any] = super().next_sample(checked(request, NEXT))
        return answer

    def _image(self, image: Any, store: Datastore, is_kept: bool) -> str:
        """The image of a request: the name of a volume, or an uploaded file."""
        is_series = isinstance(store, DICOMWebDatastore) and re.fullmatch(r"\d+(\.\d+)*", str(image)) is not None
        if isinstance(image, str) and (is_series or image in store.list_images()):
            if not Path(image).exists():
                return image
            # MONAI Label reads an existing name as a path
            if is_kept:
                raise RequestError(
                    f"image: expected no file of that name in {Path.cwd()}, found {image!r}. "
                    "Start the server in another folder."
                )
            return str(store.get_image_uri(image))
        if isinstance(image, str) and Path(image).is_absolute() and self._was_sent(Path(image)):
            return image
        raise RequestError(f"image: expected the name of a volume in {self.studies}, found {image!r}.")

    def _was_sent(self, path: Path) -> bool:
        real = path.resolve()
        sent = Path(tempfile.gettempdir()).resolve()
        if real.parent == sent and real.name.startswith(tempfile.gettempprefix()):
            return True
        kept = [self.studies] if Path(self.studies).is_dir() else []
        if self.sessions() is not None:
            kept.append(self.sessions().store_path)
        return any(real.is_relative_to(Path(folder).resolve()) for folder in kept)

    def _download_dcmqi_tools(self) -> None:
        """Download nothing. MONAI Label would download a program when it starts on a DICOMweb server."""
        if shutil.which("itkimage2segimage") is None:
            logger.warning(
                "Submitted labels cannot be stored as DICOM-SEG: expected the program itkimage2segimage on the path, "
                "found none. Install it (pip install dcmqi) and start again."
            )
