"""Which volumes there are: ``dataset.json``, slice tags from a CSV, or a plain folder of images."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from camtools.data.errors import DataError
from camtools.data.tag_csv import TagTables

__all__ = [
    "IMAGE_SUFFIXES",
    "case_name",
    "image_stem",
    "is_itk_file",
    "is_photograph",
    "list_volumes",
    "load_datalist",
    "volumes_in",
    "with_cases",
]

_PHOTOGRAPHS = (".png", ".bmp", ".tif", ".tiff")
_DETACHED = (".nhdr", ".mhd")  # headers of voxels in another file: listed, so that reading them can say so
IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", *_PHOTOGRAPHS)


def is_photograph(path: str | Path) -> bool:
    """Whether a file is a 2D image without patient axes and millimetres, by its suffix.

    Example:
        >>> is_photograph("a.PNG"), is_photograph("a.nii.gz")
        (True, False)
    """
    return str(path).lower().endswith(_PHOTOGRAPHS)


def is_itk_file(path: str | Path) -> bool:
    """Whether a file is read with ITK, by its suffix: NRRD and MetaImage.

    Example:
        >>> is_itk_file("a.nrrd"), is_itk_file("a.MHA"), is_itk_file("a.nii")
        (True, True, False)
    """
    return str(path).lower().endswith((".nrrd", ".mha", *_DETACHED))


def image_stem(path: str | Path) -> str:
    """File name without its image suffix (``a.b.nii.gz`` -> ``a.b``)."""
    name = Path(path).name
    for suffix in IMAGE_SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return Path(path).stem


def case_name(item: dict[str, Any]) -> str:
    """Name under which outputs of ``item`` are stored: its ``case`` key, else the image's stem."""
    return str(item.get("case") or image_stem(item["image"]))


def with_cases(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items with their :func:`case_name` under ``case``; those of MONAI Label come without.

    Example:
        >>> with_cases([{"image": "a.nii.gz"}])
        [{'image': 'a.nii.gz', 'case': 'a'}]
    """
    return [item | {"case": case_name(item)} for item in items]


def load_datalist(dataset_dir: str | Path, split: str, labels: bool = True) -> list[dict[str, Any]]:
    """Items of one split of ``dataset_dir/dataset.json`` (Medical Segmentation Decathlon layout).

    Args:
        dataset_dir: folder with ``dataset.json`` and the files it names by relative path.
        split: ``"training"``, ``"validation"`` or ``"test"``; a split that is absent is an empty list.
        labels: keep the ``label`` key (mask). Without it an item carries its image and slice tags alone.

    Returns:
        One dictionary per volume: ``image`` and ``label`` as absolute paths, ``slice_labels`` as a list of 0/1
        where tags are given (inline or in a CSV with the columns ``image,slice,label``), ``patch_labels`` where the
        tags of patches are given (:class:`camtools.data.PatchTagger`), and ``case``, a name that is unique over all
        splits.

    Raises:
        DataError: ``dataset.json`` is missing, is not JSON, has no items, or names a file that does not exist.
    """
    root = Path(dataset_dir)
    content = _read_json(root / "dataset.json")
    listed = {name: content.get(name, []) for name in ("training", "validation", "test")}
    if not any(listed.values()):
        raise DataError(
            f"{root / 'dataset.json'} lists no volumes: expected items under 'training', 'validation' or 'test', "
            f"found the keys {sorted(content)}."
        )
    if split not in listed:
        raise DataError(f"Unknown split '{split}': expected one of {sorted(listed)}.")
    names = _unique_names(_relative(item, root) for items in listed.values() for item in items)
    tables = TagTables()
    items = []
    for raw in listed[split]:
        image = _relative(raw, root)
        item: dict[str, Any] = {"image": str(_existing(root, image, "image")), "case": names[image]}
        if labels and isinstance(raw, dict) and raw.get("label"):
            item["label"] = str(_existing(root, raw["label"], "label"))
        items.append(item | _tags(raw if isinstance(raw, dict) else {}, image, root, tables))
    return items


def list_volumes(folder: str | Path) -> list[dict[str, Any]]:
    """Every image file below ``folder`` by its absolute path, sorted; the case name keeps the sub-folders.

    Raises:
        DataError: the folder does not exist or holds no image.
    """
    # absolute: while ITK is first loaded, it changes the working directory of all threads
    root = Path(folder).absolute()
    if not root.is_dir():
        raise DataError(f"Expected a folder of volumes, found none at {root}. Check the path.")
    files = sorted(path for path in root.rglob("*") if path.name.lower().endswith((*IMAGE_SUFFIXES, *_DETACHED)))
    if not files:
        raise DataError(f"No image below {root}: expected files that end in one of {', '.join(IMAGE_SUFFIXES)}.")
    names = [str(path.relative_to(root).with_name(image_stem(path))) for path in files]
    clashes = {name for name, count in Counter(names).items() if count > 1}
    return [
        {"image": str(path), "case": str(path.relative_to(root)) if name in clashes else name}
        for path, name in zip(files, names, strict=True)
    ]


def volumes_in(folder: str | Path) -> list[dict[str, Any]]:
    """Volumes to segment: the test split where ``folder`` has a ``dataset.json``, else every image below it."""
    if (Path(folder) / "dataset.json").is_file():
        return load_datalist(folder, "test")
    return list_volumes(folder)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(
            f"Expected {path}, found no such file. Write it in the Medical Segmentation Decathlon layout "
            "(lists of {'image', 'label' or 'slice_labels'} under 'training', 'validation', 'test')."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not valid JSON (line {error.lineno}: {error.msg}). Correct the file.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} must hold a JSON object with lists of volumes, found {type(content).__name__}.")
    return content


def _relative(item: Any, root: Path) -> str:
    image = item if isinstance(item, str) else item.get("image") if isinstance(item, dict) else None
    if not image:
        raise DataError(f"An item of {root / 'dataset.json'} has no 'image': {item!r}. Name the image's file.")
    return str(image)


def _existing(root: Path, name: str, key: str) -> Path:
    path = (root / name).resolve()
    if not path.is_file():
        raise DataError(f"{root / 'dataset.json'} names the {key} '{name}', but {path} does not exist.")
    return path


def _tags(raw: dict[str, Any], image: str, root: Path, tables: TagTables) -> dict[str, Any]:
    """Tags of slices, inline or from a CSV, and tags of patches from a CSV, which imply those of their slices."""
    tags: dict[str, Any] = {}
    slices = raw.get("slice_labels")
    if raw.get("patch_labels"):
        patches = tables.patches(_existing(root, raw["patch_labels"], "patch_labels"), image)
        tags["patch_labels"] = patches
        positive = {index for index, _, _, classes in patches if any(classes)}
        tags["slice_labels"] = [int(index in positive) for index in range(max(row[0] for row in patches) + 1)]
    if isinstance(slices, str):
        slices = tables.slices(_existing(root, slices, "slice_labels"), image)
    return tags if slices is None else tags | {"slice_labels": slices}


def _unique_names(images: Iterable[str]) -> dict[str, str]:
    images = list(images)
    stems = Counter(image_stem(image) for image in set(images))
    return {
        image: image_stem(image)
        if stems[image_stem(image)] == 1
        else "__".join([*Path(image).parts[:-1], image_stem(image)])
        for image in images
    }
