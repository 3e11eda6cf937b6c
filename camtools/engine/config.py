"""Access to the running configuration, which MONAI's parser holds."""

from __future__ import annotations

import inspect
import os
import sys
from contextlib import suppress
from pathlib import Path
from traceback import format_exception
from types import FrameType, TracebackType
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow, ReferenceResolver

from camtools.data.errors import reason
from camtools.data.files import atomic_path
from camtools.engine.knobs import NEUTRAL_IDS
from camtools.engine.overrides import apply_overrides, check_ids, files_of, given_overrides, unknown_id

__all__ = ["active_parser", "begin_run", "find_bundle_root", "referenced_config", "show_root_cause"]

# ids whose value depends on the data: the value is recorded, not the expression
DECIDED_IDS = frozenset({"slicing"})
# Keys of ``splits`` that ``referenced_config`` leaves out, so that methods can share a classifier. The ``inputs`` and
# ``items`` of a stage cover the volumes, and full supervision is visible in the steps that use masks.
LEFT_OUT = {"splits": ("training", "validation", "test", "full_supervision")}


def _owner_on_stack(kind: type) -> Any:
    # Skip this frame: a reference to its own locals would keep all frames and their objects alive.
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, kind):
            return owner
        frame = frame.f_back
    return None


def active_parser() -> ConfigParser:
    """The parser that is evaluating the calling component.

    MONAI gives components no reference to their parser, but a stage needs it for two tasks: to record its
    configuration, and to build its trainer only when there is work. The parser is therefore taken from the call stack.

    Raises:
        RuntimeError: called outside a bundle.
    """
    parser = _owner_on_stack(ConfigParser)
    if parser is None:
        raise RuntimeError(
            "Expected a call from a configuration that MONAI evaluates, found none. Run the component from a bundle."
        )
    return parser


def find_bundle_root() -> str:
    """Folder of the running bundle, which contains ``configs/``.

    ``python -m monai.bundle run`` knows the path of the configuration file, so any working directory is possible.
    MONAI's other commands do not tell the path. For them, the working directory must be the folder of the bundle, or
    ``--bundle_root`` must be given.

    Raises:
        FileNotFoundError: the folder found this way is not a bundle.
    """
    workflow = _owner_on_stack(ConfigWorkflow)
    root = Path(workflow.config_root_path).resolve().parent if workflow else Path.cwd()
    if not (root / "configs" / "metadata.json").is_file():
        raise FileNotFoundError(
            f"Expected a bundle at {root}, found no configs/metadata.json there. "
            "Run from the bundle's folder or give --bundle_root PATH."
        )
    return str(root)


def referenced_config(parser: ConfigParser, item: str) -> dict[str, Any]:
    """Everything in the configuration that ``item`` depends on: itself and all its direct and indirect references.

    Args:
        parser: a parser that has read its configuration.
        item: id such as ``"classifier#trainer"``.

    Returns:
        Raw content by id. For ids that depend on the data (``slicing``), the value instead of the expression.
        Ids that only say where to run (bundle, data and output folder, device) are left out.

    Example:
        >>> parser = ConfigParser({"a": {"x": "@b"}, "b": "$@c + 1", "c": 2, "d": 3})
        >>> referenced_config(parser, "a")
        {'a': {'x': '@b'}, 'b': '$@c + 1', 'c': 2}
    """
    found: dict[str, Any] = {}
    queue = [ReferenceResolver.normalize_id(item)]
    while queue:
        name = queue.pop()
        if name in found or name.split("::")[0] in NEUTRAL_IDS:
            continue
        if name in DECIDED_IDS:
            found[name] = parser.get_parsed_content(name)
            continue
        content = parser[name]
        if name in LEFT_OUT:
            content = {key: value for key, value in content.items() if key not in LEFT_OUT[name]}
        found[name] = content
        references = ReferenceResolver.find_refs_in_config(config=content, id=name)
        queue.extend(reference for reference in references if not reference.startswith(f"{name}::"))
    return found


def begin_run() -> None:
    """Apply the overrides of the configuration, reject unknown ids, and install :func:`show_root_cause`.

    A bundle calls it under ``initialize``, before anything else.

    Raises:
        DataError: an override has an unknown id, or a value of the wrong type.
    """
    parser = active_parser()
    show_root_cause(parser.get("output_dir"))
    files, given = given_overrides(inspect.currentframe())
    workflow = _owner_on_stack(ConfigWorkflow)
    if not files and workflow is not None:
        files = files_of(workflow.config_root_path, parser.get())
    if not files:
        return
    check_ids(parser, files)
    apply_overrides(parser, files, given)
    if workflow is not None and workflow.run_id not in parser:
        raise unknown_id(workflow.run_id, workflow.run_id, [str(name) for name in parser.get()], files)
    parser.parse(reset=True)
    show_root_cause(parser.get("output_dir"))


def show_root_cause(output_dir: Any = None) -> None:
    """Print only the message of an uncaught error, without the messages of MONAI's wrappers.

    The traceback goes to ``traceback.txt`` in the folder of the run, if that exists. With the environment variable
    ``CAMTOOLS_TRACEBACK=1``, it goes to the terminal instead.

    Args:
        output_dir: folder of the run. An expression that is not evaluated yet is ignored.
    """
    default = getattr(sys.excepthook, "default", sys.excepthook)

    def show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if os.environ.get("CAMTOOLS_TRACEBACK") == "1":
            default(kind, error, traceback)
        elif isinstance(error, Exception) and isinstance(output_dir, str) and Path(output_dir).is_dir():
            text = "".join(format_exception(kind, error, traceback))
            with suppress(OSError), atomic_path(Path(output_dir) / "traceback.txt") as temporary:
                temporary.write_text(text, encoding="utf-8")
        message = f"Error: {reason(error)}" if isinstance(error, Exception) else "Interrupted."
        print(message, file=sys.stderr)

    show.default = default  # type: ignore[attr-defined]
    sys.excepthook = show
