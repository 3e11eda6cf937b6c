"""Values that a request may hold: numbers within ranges and names from fixed lists, never expressions for MONAI."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["BATCH", "INFER", "NEXT", "TRAIN", "RequestError", "Rule", "checked", "plain_name"]

logger = logging.getLogger("camtools")

Rule = Callable[[str, Any], Any]

# fields that clients and MONAI Label add; nothing here reads them
UNUSED = {"bundle_path", "client_id", "description", "label", "local_rank", "result", "session", "user"}
UNUSED |= {"_id", "_image_id", "image", "images", "largest_cc", "max_batch_size", "max_workers", "tracking_uri"}


class RequestError(ValueError):
    """A value in a request is not allowed; the message names the field, the expected and the found value."""


def _refuse(field: str, expected: str, found: Any) -> RequestError:
    shown = repr(found)
    return RequestError(f"{field}: expected {expected}, found {shown if len(shown) <= 80 else shown[:77] + '...'}.")


def _number(low: float, high: float, whole: bool = False) -> Rule:
    def rule(field: str, value: Any) -> Any:
        kind = "a whole number" if whole else "a number"
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number or not low <= value <= high or (whole and value != int(value)):
            raise _refuse(field, f"{kind} from {low:g} to {high:g}", value)
        return int(value) if whole else value

    return rule


def _flag(field: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _refuse(field, "true or false", value)
    return value


def _one_of(*names: str) -> Rule:
    def rule(field: str, value: Any) -> str:
        if not isinstance(value, str) or value not in names:
            raise _refuse(field, "one of " + ", ".join(repr(name) for name in names), value)
        return str(value)

    return rule


def _matching(pattern: str, expected: str) -> Rule:
    def rule(field: str, value: Any) -> str:
        if not isinstance(value, str) or re.fullmatch(pattern, value, re.ASCII) is None:
            raise _refuse(field, expected, value)
        return value

    return rule


def _device(field: str, value: Any) -> str:
    from monailabel.utils.others.generic import device_list

    if isinstance(value, str) and (value in device_list() or re.fullmatch(r"cpu|cuda(:\d{1,2})?", value, re.ASCII)):
        return value
    raise _refuse(field, "cpu, cuda, cuda:N or one of " + ", ".join(device_list()), value)


def plain_name(field: str, value: Any) -> str:
    r"""``value``, the name of a volume, which becomes a file name: no folder, no control character.

    Raises:
        RequestError: it is anything else.

    Example:
        >>> plain_name("image", "case 1 (T2)")
        'case 1 (T2)'
        >>> plain_name("image", "../case")
        Traceback (most recent call last):
        camtools.label.requests.RequestError: image: expected a plain name without / or \, found '../case'.
    """
    if not isinstance(value, str) or not 0 < len(value) <= 250 or value in (".", ".."):
        raise _refuse(field, r"a plain name without / or \, of 1 to 250 characters", value)
    if re.search(r"[/\\\x00-\x1f\x7f]", value):
        raise _refuse(field, r"a plain name without / or \ ".strip(), value)
    return value


_TAG = _matching(r"[A-Za-z0-9_-]{1,64}", "letters, digits, _ and -")
_TITLE = _matching(r"[A-Za-z0-9_. -]{0,64}", "letters, digits, spaces and _.-")
_GPUS = _matching(r"all|\d{1,2}(,\d{1,2})*", "'all' or numbers with commas, such as '0,1'")
_LEVELS = _one_of("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "debug", "info", "warning", "error", "critical")
_TYPES = _one_of("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
_SUFFIXES = _one_of(".nii", ".nii.gz", ".nrrd", ".seg.nrrd", ".mha", ".mhd", ".png", ".bmp", ".tif", ".tiff", ".jpg")

NEXT: dict[str, Rule] = {
    "strategy": _TAG,
    "label_tag": _TAG,
    "client_id": _matching(r"[\w@ .:-]{0,100}", "letters, digits, spaces and _@.:-"),
}
INFER: dict[str, Rule] = {
    "model": plain_name,
    "device": _device,
    "gpus": _GPUS,
    "label_tag": _TAG,
    "logging": _LEVELS,
    "model_filename": _one_of("model.pt"),
    "multi_gpu": _flag,
    "result_compress": _flag,
    "result_dtype": _TYPES,
    "result_extension": _SUFFIXES,
    "result_write_to_file": _flag,
    "save_label": _flag,
    "timeout": _number(1, 86400),
}


def _images(field: str, value: Any) -> Any:
    return [plain_name(field, name) for name in value] if isinstance(value, list) else _WHICH(field, value)


_WHICH = _one_of("all", "labeled", "unlabeled")
BATCH: dict[str, Rule] = INFER | {
    "images": _images,
    "max_batch_size": _number(0, 1_000_000, whole=True),
    "max_workers": _number(0, 64, whole=True),
}
TRAIN: dict[str, Rule] = {
    "model": plain_name,
    "classifier_epochs": _number(1, 10_000, whole=True),
    "device": _device,
    "force_multi_gpu": _flag,
    "gpus": _GPUS,
    "max_epochs": _number(1, 10_000, whole=True),
    "min_area_fraction": _number(0, 1),
    "model_filename": _one_of("model.pt"),
    "multi_gpu": _flag,
    "pretrain_epochs": _number(0, 10_000, whole=True),
    "pretrained": _flag,
    "run_id": _one_of("", "run"),
    "tracking": _one_of("", "None", "none", "mlflow"),
    "tracking_experiment_name": _TITLE,
    "tracking_run_name": _TITLE,
    "val_split": _number(-1, 0.9),
}


def checked(request: Mapping[str, Any], rules: Mapping[str, Rule]) -> dict[str, Any]:
    """Values of ``request`` that have a rule, each checked by its rule.

    MONAI evaluates a string of its configuration that begins with ``$`` as Python, also within lists, and follows
    ``@`` and ``%``. Therefore a value passes only if a rule knows it.

    Args:
        request: names and values, as a client sent them; None counts as not given.
        rules: :data:`TRAIN`, :data:`INFER`, :data:`BATCH` or :data:`NEXT`.

    Returns:
        The checked values. Fields without a rule are left out, and the log names them.

    Raises:
        RequestError: a value that its rule refuses.

    Example:
        >>> checked({"max_epochs": 3, "client_id": "slicer"}, TRAIN)
        {'max_epochs': 3}
        >>> checked({"max_epochs": "$print()"}, TRAIN)
        Traceback (most recent call last):
        camtools.label.requests.RequestError: max_epochs: expected a whole number from 1 to 10000, found '$print()'.
    """
    given = {field: value for field, value in request.items() if value is not None}
    if unknown := sorted(repr(field) for field in set(given) - set(rules) - UNUSED):
        logger.warning("Fields of the request that are not used: %s", ", ".join(unknown)[:500])
    return {field: rules[field](field, value) for field, value in given.items() if field in rules}
