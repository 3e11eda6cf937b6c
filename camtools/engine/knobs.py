"""Values of knobs on a command line, read with the rules of a configuration file."""

from __future__ import annotations

from typing import Any

import yaml

from camtools.data.errors import DataError

__all__ = ["NEUTRAL_IDS", "SPEED_IDS", "knob_value", "read_text"]

# ids that say where to run and on which files, and do not change what is computed
NEUTRAL_IDS = frozenset(
    {
        "bundle_root",
        "dataset_dir",
        "output_dir",
        "shard",
        "shard_dir",
        "export_dir",
        "pretrain_dir",
        "classifier_dir",
        "pseudo_label_dir",
        "cache_dir",
        "cache_limit",
        "num_workers",
        "device",
        "initial_weights",
    }
)
# ids that change speed and rounding alone
SPEED_IDS = frozenset({"amp", "channels_last", "map_batch_size", "scoring_dtype"})
# ids whose value is always text, even if it looks like a number: a folder may be called 2024
TEXT_IDS = NEUTRAL_IDS - {"cache_limit", "num_workers"} | {"checkpoint", "classifier_checkpoint"}
# ids whose default is a number or a truth value, and which also accept a word or a path
ALSO_TEXT = frozenset({"seed_threshold", "pretrained"})
EXPRESSIONS = ("$", "@", "%")


def read_text(text: str) -> Any:
    """Value of a text as YAML. Expressions, references and text that is not valid YAML stay text.

    Example:
        >>> read_text("false"), read_text("null"), read_text("[64, 64]"), read_text("@width")
        (False, None, [64, 64], '@width')
    """
    if text.startswith(EXPRESSIONS):
        return text
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    # YAML also reads dates; on a command line they are text
    return value if isinstance(value, (type(None), bool, int, float, list, dict)) else text


def knob_value(name: str, given: Any, default: Any) -> Any:
    """Value of a knob on the command line, with the meaning that it would have in the YAML file.

    Args:
        name: id of the knob.
        given: text, or a value from python-fire or from a program.
        default: value of the knob in the configuration file.

    Raises:
        DataError: the default is a truth value, a number or a list, and ``given`` has another type.

    Example:
        >>> knob_value("gate", "false", True), knob_value("pixel_size", "null", 1.0), knob_value("rate", "1e-3", 0.1)
        (False, None, 0.001)
        >>> knob_value("dataset_dir", 2024, "data"), knob_value("image_size", (64, 64), [96, 96])
        ('2024', [64, 64])
    """
    if isinstance(given, str) and given.startswith(EXPRESSIONS):
        return given
    if name in TEXT_IDS:
        return _text(given)
    value = read_text(given) if isinstance(given, str) else given
    value = None if value == "None" else _as_lists(value)
    if value is None or default is None or name in ALSO_TEXT:
        return value
    if isinstance(default, str) and default.startswith(EXPRESSIONS):
        return _as_number(value)
    if isinstance(default, bool):
        return _truth_value(name, value)
    if isinstance(default, (int, float)):
        return _number(name, value, default)
    if isinstance(default, list) and not isinstance(value, list):
        raise _unexpected(name, "a list such as " + str(default), value)
    return value


def _text(given: Any) -> str | None:
    if given is None or (isinstance(given, str) and given in ("null", "~", "None")):
        return None
    return str(given)


def _as_lists(value: Any) -> Any:
    """Convert tuples to lists. python-fire reads ``64,64`` as a tuple."""
    return [_as_lists(entry) for entry in value] if isinstance(value, (tuple, list)) else value


def _as_number(value: Any) -> Any:
    """The number that a text is, such as 1e-3, which YAML reads as text; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def _truth_value(name: str, value: Any) -> bool:
    if value not in (True, False):
        raise _unexpected(name, "true or false", value)
    return bool(value)


def _number(name: str, value: Any, default: float) -> float:
    if isinstance(value, str):
        try:
            value = float(value)  # YAML reads 1e-3 as text
        except ValueError:
            raise _unexpected(name, f"a number such as {default}", value) from None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _unexpected(name, f"a number such as {default}", value)
    if isinstance(default, int) and value == int(value):
        return int(value)
    return value


def _unexpected(name: str, expected: str, value: Any) -> DataError:
    return DataError(f"--{name}: expected {expected}, found {value!r}. Correct it on the command line.")
