"""Values of knobs as they are given on a command line, read as a configuration file would read them."""

from __future__ import annotations

from typing import Any

import yaml

from camtools.data.errors import DataError

__all__ = ["NEUTRAL_IDS", "knob_value", "read_text"]

# ids that say where and on what to run, not what is computed
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
        "device",
        "initial_weights",
    }
)
# what is always text, whatever it looks like: a folder may be called 2024
TEXT_IDS = NEUTRAL_IDS | {"checkpoint", "classifier_checkpoint"}
# their default is a number or a truth value, and they take a word or a path as well
ALSO_TEXT = frozenset({"seed_threshold", "pretrained"})
EXPRESSIONS = ("$", "@", "%")


def read_text(text: str) -> Any:
    """What YAML makes of a text; an expression or a reference, and what is no YAML, stays text.

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
    # "a: b" on a command line is text, and so is a date
    return value if isinstance(value, (type(None), bool, int, float, list, dict)) else text


def knob_value(name: str, given: Any, default: Any) -> Any:
    """Value of a knob from what was given for it: the meaning it would have in the YAML file.

    Args:
        name: id of the knob.
        given: text, or a value that python-fire or a program made.
        default: its value in the configuration file.

    Raises:
        DataError: a text or another kind of value where the default is a truth value, a number or a list.

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
    """Tuples, which python-fire makes of ``64,64``, as lists."""
    return [_as_lists(entry) for entry in value] if isinstance(value, (tuple, list)) else value


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
