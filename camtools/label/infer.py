"""Inference of a bundle in MONAI Label."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monailabel.tasks.infer.bundle import BundleInferTask

from camtools.data.file_kinds import is_photograph
from camtools.data.files import save_like
from camtools.label.errors import told
from camtools.label.requests import INFER, checked

__all__ = ["BundleInference"]

NIFTI = (".nii", ".nii.gz")


class BundleInference(BundleInferTask):
    """MONAI Label's task for a bundle, with strict weights and the exact geometry of the input.

    MONAI Label alone would continue with weights that do not fit the network, resize a mask whose shape is not the
    image's, and write NIfTI through ITK, which rounds the affine and refuses sheared affines.

    Args:
        path: folder of the bundle.
        conf: settings of the server.
    """

    def __init__(self, path: str, conf: dict[str, str]) -> None:
        super().__init__(path, conf, load_strict=True, add_post_restore=False)
        self.dimension = 3  # whole volumes, although the network is 2D
        if self.valid and self.network is None:
            raise FileNotFoundError(
                f"Expected trained weights in {Path(path) / 'models' / 'model.pt'}, found none. "
                "Put them there, or move the folder away to start from the bundle again."
            )
        self._config["model_filename"] = ["model.pt"]  # other weights in models/ are not of this network

    def __call__(self, request: dict[str, Any], callbacks: dict[Any, Any] | None = None) -> tuple[Any, Any]:
        """Segment ``request["image"]``, a file or an array; returns the file of the mask and further results.

        Raises:
            RequestError: a value of the request that :data:`camtools.label.requests.INFER` refuses.
            DataError: the image cannot be used; the message names the file, the problem and what to do.
            RuntimeError: any other error, with the message of its root cause.
        """
        known = checked(request, INFER) | {"image": request.get("image")}
        with told():
            answer: tuple[Any, Any] = super().__call__(known, callbacks)
        return answer

    def writer(self, data: dict[str, Any], extension: str | None = None, dtype: Any = None) -> tuple[Any, Any]:
        """Write the mask ``(1, X, Y, Z)``; returns its file and further results (none).

        NIfTI of a volume is written here, every other format, such as the NRRD that 3D Slicer asks for, by MONAI Label.
        By default the mask of a NIfTI volume is NIfTI, and any other mask has the format of its image.
        """
        source, mask = str(data["image_path"]), data[self.output_label_key][0]
        suffix = extension or data.get("result_extension")
        if suffix is None and source.lower().endswith(NIFTI):
            suffix = ".nii.gz"
        if suffix in NIFTI and not is_photograph(source):
            return self._write_nifti(mask, data[self.output_label_key].affine, source, suffix), {}
        shown = mask[..., 0] if is_photograph(source) else mask
        written: tuple[Any, Any] = super().writer(data | {self.output_label_key: shown}, extension, dtype)
        return written

    def _write_nifti(self, mask: torch.Tensor, affine: torch.Tensor, source: str, suffix: str) -> str:
        with tempfile.NamedTemporaryFile(suffix=suffix, delete=False) as file:
            path = Path(file.name)
        save_like(mask.cpu().numpy().astype(np.uint8), np.asarray(affine), source, path)
        return str(path)
