"""Stores of volumes and labels that write and read below their own folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.datastore.local import LocalDatastore

from camtools.data.errors import DataError
from camtools.label.requests import RequestError, plain_name

__all__ = ["DicomStore", "FolderStore"]

INDEX = "datastore_v2.json"
SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".svs", ".xml", ".mha")
FOLDERS = {"images_dir": ".", "labels_dir": "labels"}


class _OwnFolder:
    """Checks of both stores: names in a request and in the index of the store become file names."""

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Store an uploaded volume under its name; see :class:`monailabel.interfaces.datastore.Datastore`."""
        self._check(image_id, image_filename)
        added: str = super().add_image(image_id, image_filename, image_info)  # type: ignore[misc]
        return added

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any], *more: Any, **names: Any
    ) -> str:
        """Store a label under the name of its volume; see :class:`monailabel.interfaces.datastore.Datastore`."""
        plain_name("tag", label_tag)
        self._check(image_id, label_filename, also=(".bin",))
        saved: str = super().save_label(image_id, label_filename, label_tag, label_info, *more, **names)  # type: ignore[misc]
        return saved

    def get_image_uri(self, image_id: str) -> str:
        """File of a volume, below the folder of the store."""
        plain_name("image", image_id)
        self._check_index()
        uri: str = super().get_image_uri(image_id)  # type: ignore[misc]
        return uri

    def get_label_uri(self, label_id: str, label_tag: str, *more: Any, **names: Any) -> str:
        """File of a label, below the folder of the store."""
        plain_name("label", label_id)
        plain_name("tag", label_tag)
        self._check_index()
        uri: str = super().get_label_uri(label_id, label_tag, *more, **names)  # type: ignore[misc]
        return uri

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        """Pairs of volume and final label."""
        self._check_index()
        pairs: list[dict[str, Any]] = super().datalist(full_path)  # type: ignore[misc]
        return pairs

    def _check(self, image_id: str, file: str, also: tuple[str, ...] = ()) -> None:
        if image_id:
            plain_name("image", image_id)
        if not file.lower().endswith(SUFFIXES + also):
            raise RequestError(f"File name: expected one that ends in {', '.join(SUFFIXES)}, found {file[-40:]!r}.")

    def _check_index(self) -> None:
        """An index that came with the volumes may not lead to other folders."""
        index: Mapping[str, Any] = self.json()  # type: ignore[attr-defined]
        wrong = [f"{key} {index[key]!r}" for key, folder in FOLDERS.items() if index[key] != folder]
        for name, entry in index["objects"].items():
            named = [
                name,
                entry["image"]["ext"],
                *entry["labels"],
                *(label["ext"] for label in entry["labels"].values()),
            ]
            wrong += [repr(part) for part in named if "/" in part or os.sep in part or part == ".."]
        if wrong:
            raise DataError(
                f"{INDEX} in the folder of the volumes: expected plain names of files in it, found {wrong[0]}. "
                "Move the file away; the server writes it again."
            )


class FolderStore(_OwnFolder, LocalDatastore):  # type: ignore[misc]
    """Volumes and labels in a folder."""


class DicomStore(_OwnFolder, DICOMWebDatastore):  # type: ignore[misc]
    """Volumes and labels of a DICOMweb server, kept in a folder."""
