"""Overrides of a configuration. They are read with the rules of the file, and unknown ids are rejected."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from monai.bundle import ConfigComponent, ConfigParser, ReferenceResolver, create_workflow, run
from monai.utils import ensure_tuple, optional_import

from camtools.data.errors import DataError
from camtools.engine.knobs import EXPRESSIONS, TEXT_IDS, knob_value

__all__ = ["apply_overrides", "check_ids", "command_line_texts", "files_of", "given_overrides", "unknown_id"]

# ids that MONAI itself reads or writes
MONAI_IDS = frozenset({"_meta_", "imports", "save_execute_config", "experiment_name", "run_name", "tracking_uri"})
COMPONENT_KEYS = frozenset({"_target_", "_requires_", "_disabled_", "_desc_", "_mode_"})
_FLAG = re.compile(r"--|-[a-zA-Z](=|$)")


def apply_overrides(parser: ConfigParser, files: Sequence[str | Path], given: dict[str, Any]) -> None:
    """Apply overrides to a configuration, with the meaning that they would have in its files.

    Args:
        parser: the configuration, with the overrides as MONAI read them.
        files: configuration files, without the overrides.
        given: overrides by id, including those whose value is None, which MONAI leaves out.

    Raises:
        DataError: a value has the wrong type, see :func:`camtools.engine.knobs.knob_value`.
    """
    defaults = ConfigParser(ConfigParser.load_config_files([str(file) for file in files]))
    for name, value in given.items():
        parser[name] = knob_value(name, value, defaults.get(name))


def check_ids(parser: ConfigParser, files: Sequence[str | Path]) -> None:
    """Reject unknown ids among the overrides. Without this check, a misspelled knob would silently keep its default.

    An id that the files of the bundle do not have is still accepted if another item refers to it, or if it is an
    argument of its component.

    Args:
        parser: the configuration with all overrides.
        files: configuration files, without the overrides.

    Raises:
        DataError: an id is unknown. The message names similar ones.
    """
    known = ConfigParser(ConfigParser.load_config_files([str(file) for file in files]))
    referenced = set(_references(parser.get()))
    for name in _new_ids(parser.get(), known.get()):
        if name in MONAI_IDS or _is_referenced(name, referenced):
            continue
        parent, _, key = name.rpartition("::")
        component = parser[parent] if parent else None
        expected = [str(other) for other in (known.get(parent) or {})]
        if component is not None and ConfigComponent.is_instantiable(component):
            arguments, takes_any = _arguments(parser, component)
            if key in arguments or key in COMPONENT_KEYS:
                continue
            # The component passes other arguments on, so only a name close to a known one counts as misspelled.
            if takes_any and not difflib.get_close_matches(key, [*arguments, *expected], cutoff=0.8):
                continue
            expected = [*arguments, *expected]
        raise unknown_id(name, key, expected, files)


def unknown_id(name: str, key: str, siblings: Sequence[str], files: Sequence[str | Path]) -> DataError:
    """The error for an id that a configuration does not have."""
    near = difflib.get_close_matches(key, siblings, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else f"expected one of {', '.join(sorted(siblings))}."
    shown = name.replace("::", "#")
    return DataError(f"--{shown}: {Path(files[0])} has no '{shown}' and nothing refers to it; {hint}")


def given_overrides(frame: FrameType | None) -> tuple[list[str], dict[str, Any]]:
    """Files and overrides of the bundle that MONAI is starting, from MONAI's frame on the call stack.

    Values on a command line are read from it as text. python-fire would read them as Python, where ``false`` is text,
    ``1e5`` a number and ``007`` text. MONAI also leaves out None.

    Returns:
        Configuration files and overrides by id. Both are empty if MONAI was not started by ``monai.bundle.run`` or
        ``create_workflow``.
    """
    while frame is not None and frame.f_code is not create_workflow.__code__:
        frame = frame.f_back
    if frame is None:
        return [], {}
    files = frame.f_locals.get("config_file") or []
    own = set(inspect.signature(run).parameters) | {"workflow_type", "properties_path"}
    given = {name: value for name, value in frame.f_locals["kwargs"].items() if name not in own}
    if _started_by_fire(frame):
        texts = command_line_texts(sys.argv[1:])
        given = {name: _from_text(name, texts.get(name), value) for name, value in given.items()}
    return [str(file) for file in ensure_tuple(files)], given


def files_of(folder: str | Path, config: dict[str, Any]) -> list[str]:
    """File in ``folder`` that ``config`` was read from: the one that shares the most ids with it."""
    shared = {}
    for path in (Path(folder) / "train.yaml", Path(folder) / "inference.yaml"):
        if path.is_file():
            shared[str(path)] = len(set(config) & set(ConfigParser.load_config_file(path)))
    return [max(shared, key=lambda path: shared[path])] if shared else []


def command_line_texts(arguments: Sequence[str]) -> dict[str, str]:
    """Text of each ``--id value`` or ``--id=value`` on a command line. The last of repeated options counts.

    Example:
        >>> command_line_texts(["run", "--gate", "false", "--pixel-size=null", "--amp"])
        {'gate': 'false', 'pixel_size': 'null'}
    """
    texts = {}
    for argument, following in zip(arguments, [*arguments[1:], "--"], strict=True):
        if not argument.startswith("--"):
            continue
        name, equals, value = argument[2:].partition("=")
        if equals:
            texts[name.replace("-", "_")] = value
        elif not _FLAG.match(following):
            texts[name.replace("-", "_")] = following
    return texts


def _from_text(name: str, text: str | None, value: Any) -> Any:
    # Values that python-fire reads and YAML does not, such as 64,64 and (64, 64), stay as they are.
    if text is None or (isinstance(value, (tuple, list, dict)) and name not in TEXT_IDS):
        return value
    return text


def _started_by_fire(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__") == "fire.core":
            return True
        frame = frame.f_back
    return False


def _new_ids(config: Any, known: Any, prefix: str = "") -> Iterator[str]:
    """Ids of ``config`` that ``known`` does not have, without the ids nested in them."""
    if not isinstance(config, dict) or not isinstance(known, dict):
        return
    for key, value in config.items():
        if key not in known:
            yield f"{prefix}{key}"
        elif value is not known[key]:
            yield from _new_ids(value, known[key], f"{prefix}{key}::")


def _references(config: Any) -> Iterator[str]:
    """All ids that the texts of a configuration refer to."""
    if isinstance(config, str):
        for name in ReferenceResolver.match_refs_pattern(config):
            yield ReferenceResolver.normalize_id(name)
    elif isinstance(config, dict):
        yield from _references(list(config.values()))
    elif isinstance(config, list):
        for value in config:
            yield from _references(value)


def _is_referenced(name: str, referenced: set[str]) -> bool:
    return any(other == name or other.startswith(f"{name}::") for other in referenced)


def _arguments(parser: ConfigParser, component: dict[str, Any]) -> tuple[list[str], bool]:
    """Names of the arguments of a component, and whether it may accept others.

    It may accept others if it has keyword arguments, or if its target is not known before it is built.
    """
    target = _template_target(parser, component["_target_"])
    if not isinstance(target, str) or target.startswith(EXPRESSIONS):
        return [], True
    resolved = ConfigComponent(config={"_target_": target}, locator=ConfigParser().locator).resolve_module_name()
    module, _, name = resolved.rpartition(".")
    built, found = optional_import(module, name=name)
    if not found:
        return [], True
    parameters = inspect.signature(built).parameters.values()
    named = [one.name for one in parameters if one.kind is not inspect.Parameter.VAR_KEYWORD]
    return named, len(named) < len(parameters)


def _template_target(parser: ConfigParser, target: Any) -> Any:
    """Target of the template that ``$@name`` refers to (a component with ``_mode_: callable``), else ``target``."""
    if not isinstance(target, str) or not target.startswith("$@"):
        return target
    template = parser.get(target.removeprefix("$@"))
    return template.get("_target_", target) if isinstance(template, dict) else target
