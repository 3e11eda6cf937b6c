"""The configuration that is being run, as MONAI's parser holds it."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow, ReferenceResolver

from camtools.data.errors import reason

__all__ = ["active_parser", "find_bundle_root", "referenced_config", "show_root_cause"]

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

# ids whose value is decided by the data: it is recorded, not the expression
DECIDED_IDS = frozenset({"slicing"})


def _owner_on_stack(kind: type) -> Any:
    frame = inspect.currentframe()
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, kind):
            return owner
        frame = frame.f_back
    return None


def active_parser() -> ConfigParser:
    """The parser that is evaluating the calling component.

    MONAI hands components no reference to their parser, but a stage needs it twice: to record the configuration it
    ran with, and to build its trainer only when there is work to do. The parser is on the call stack, so it is taken
    from there.

    Raises:
        RuntimeError: called outside a bundle.
    """
    parser = _owner_on_stack(ConfigParser)
    if parser is None:
        raise RuntimeError("No bundle is being run: expected a call from a configuration that MONAI evaluates.")
    return parser


def find_bundle_root() -> str:
    """Folder of the bundle that is being run: where its ``configs/`` lies.

    With ``python -m monai.bundle run`` it follows from the path of the configuration file, whatever the working
    directory. MONAI's other commands do not say where the file was; there, the working directory must be the bundle's
    folder, or ``--bundle_root`` be given.

    Raises:
        FileNotFoundError: neither is the case.
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
    """Everything in the configuration that ``item`` depends on: itself and what it refers to, followed to the end.

    Args:
        parser: a parser with its configuration read.
        item: id such as ``"classifier#trainer"``.

    Returns:
        Raw content by id, and the value of those that the data decide (``slicing``).
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
        found[name] = parser[name]
        references = ReferenceResolver.find_refs_in_config(config=parser[name], id=name)
        queue.extend(reference for reference in references if not reference.startswith(f"{name}::"))
    return found


def show_root_cause() -> None:
    """Make an uncaught error end with its cause: MONAI's wrappers would otherwise have the last word.

    A bundle calls it under ``initialize``.
    """
    if getattr(sys.excepthook, "shows_root_cause", False):
        return
    default = sys.excepthook

    def show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        default(kind, error, traceback)
        print(f"\nError: {reason(error)}", file=sys.stderr)

    show.shows_root_cause = True  # type: ignore[attr-defined]
    sys.excepthook = show
