"""A description of transforms by their settings and code, by which equal transforms are recognised."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from enum import Enum
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import torch

import camtools

__all__ = ["settings_digest"]

PACKAGES = ("monai", "nibabel", "numpy", "torch")
PLAIN = (type(None), bool, int, float, str)


def settings_digest(transform: Any) -> str:
    """SHA-256 of everything that a transform computes with: its settings, their types, and the code.

    Two transforms with the same digest give the same result for the same file. Random states do not count. Another
    version of camtools' reading code, of torch, NumPy, MONAI or nibabel gives another digest.

    Raises:
        TypeError: the transform holds an object that cannot be described, such as an open file.

    Example:
        >>> from monai.transforms import Flipd
        >>> settings_digest(Flipd("image", 0)) == settings_digest(Flipd("image", 0))
        True
        >>> settings_digest(Flipd("image", 0)) == settings_digest(Flipd("image", 1))
        False
    """
    content = {"settings": _describe(transform), "code": _own_code()} | {name: version(name) for name in PACKAGES}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _describe(value: Any) -> Any:
    if isinstance(value, Enum):
        return [type(value).__qualname__, value.name]
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Mapping):
        return [[_describe(key), _describe(entry)] for key, entry in value.items()]
    if isinstance(value, list | tuple):
        return [_describe(entry) for entry in value]
    if isinstance(value, set | frozenset):
        return sorted(json.dumps(_describe(entry)) for entry in value)
    if isinstance(value, slice | range | complex | torch.dtype | torch.device | np.dtype | Path):
        return repr(value)
    if isinstance(value, np.ndarray | np.generic | torch.Tensor):
        array = np.asarray(value)
        return [str(array.dtype), list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]
    return _describe_object(value)


def _describe_object(value: Any) -> Any:
    if isinstance(value, np.random.RandomState):
        return "random state"
    if isinstance(value, type):
        return [f"{value.__module__}.{value.__qualname__}", _source(value)]
    if isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        return [_describe_code(value.__code__), _describe(value.__defaults__), _describe(cells)]
    if inspect.ismethod(value):
        return [_describe(value.__func__), _describe(value.__self__)]
    if inspect.isbuiltin(value):
        return [value.__module__, value.__qualname__]
    return _describe_state(value)


def _describe_state(value: Any) -> Any:
    """Type and state of an object, as ``pickle`` would take them."""
    try:
        reduced = value.__reduce_ex__(4)
    except TypeError as error:
        raise TypeError(
            f"Expected a transform whose settings can be stored, found {type(value).__qualname__} in it ({error}). "
            "Replace it, or give --cache_dir null to keep prepared slices in memory."
        ) from error
    if isinstance(reduced, str):
        return [type(value).__qualname__, reduced]
    function, arguments, *rest = reduced
    state, *entries = rest or [None]
    listed = [list(part) for part in entries if part is not None]
    return [_describe(type(value)), _describe(function), _describe(arguments), _describe(state), _describe(listed)]


def _describe_code(code: CodeType) -> Any:
    constants = []
    for constant in code.co_consts:
        constants.append(_describe_code(constant) if isinstance(constant, CodeType) else repr(constant))
    return [code.co_code.hex(), list(code.co_names), constants]


@cache
def _source(kind: type) -> str:
    """Hash of the file that defines a class of the user. Packages are covered by their versions."""
    if kind.__module__.split(".")[0] in (*PACKAGES, "builtins", "camtools"):
        return ""
    try:
        return hashlib.sha256(Path(inspect.getfile(kind)).read_bytes()).hexdigest()
    except (OSError, TypeError):
        return ""


@cache
def _own_code() -> str:
    """Hash of the modules of camtools that read and prepare volumes."""
    root = Path(camtools.__file__).parent
    files = [*root.glob("data/**/*.py"), *root.glob("transforms/*.py")]
    found = hashlib.sha256(camtools.__version__.encode())
    for path in sorted(files):
        found.update(path.read_bytes())
    return found.hexdigest()
