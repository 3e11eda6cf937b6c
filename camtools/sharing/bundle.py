"""The last step of a training: a bundle of its own that works from any folder, on any machine, without a knob."""

from __future__ import annotations

import filecmp
import logging
import shlex
import shutil
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from camtools.data.errors import DataError
from camtools.data.files import aside_name, atomic_folder
from camtools.engine.config import active_parser
from camtools.engine.knobs import SPEED_IDS
from camtools.engine.manifest import Manifest
from camtools.engine.ranks import on_first_rank
from camtools.engine.run_locks import locks_of_run
from camtools.engine.trained_run import finished_config, state_of_run
from camtools.sharing.card import write_card
from camtools.sharing.configs import run_knobs, write_configs
from camtools.sharing.facts import RunFacts, read_facts
from camtools.sharing.metadata import write_metadata
from camtools.sharing.models import copy_models, trained_files
from camtools.sharing.training import write_training

__all__ = ["write_bundle"]

logger = logging.getLogger("camtools")

DATA_LICENSE = (
    "The weights were learnt from data that are not part of this bundle and that keep their own licence. Add its name\n"
    "and terms here before you share the bundle.\n"
)


@on_first_rank
def write_bundle(output_dir: str | Path) -> Path | None:
    """Write ``output_dir/bundle``: the configurations, weights and model card of the running, finished training.

    The folder is written under a temporary name and then renamed, so it is complete or absent. If weights and
    configurations are the same, it stays as it is, with what the user wrote into ``docs/``. Otherwise the earlier one
    is renamed to ``bundle.old-<n>``.

    Args:
        output_dir: folder of the run.

    Returns:
        The folder. None if the run is a row of a table and not of the bundle's own method, or if ``inference.yaml`` has
        no knob for a change of the run; a warning says so.

    Raises:
        DataError: a step of the run is not finished.
        FolderInUseError: another run uses the folder.
        RuntimeError: called outside a bundle.
    """
    parser, folder = active_parser(), Path(output_dir)
    source = Path(parser.get_parsed_content("bundle_root"))
    default = ConfigParser.load_config_file(source / "configs" / "train.yaml")
    if parser.get("method") != default.get("method") or "model.pt" not in trained_files(parser):
        return None
    with locks_of_run() as locks:
        locks.hold(folder, "--output_dir DIR")
        finished_config(folder)
        return _write(parser, source, folder)


def _write(parser: ConfigParser, source: Path, folder: Path) -> Path | None:
    config = {name: value for name, value in parser.get().items() if name != "_meta_"}
    try:
        knobs = run_knobs(config, source, folder / "manifest.json")
    except DataError as error:
        logger.warning("bundle: not written. %s", error)
        return None
    target = folder / "bundle"
    _replace(parser, source, config, knobs, target)
    logger.info("bundle: %s", target)
    logger.info("To segment volumes: camtools predict %s NEW --output-dir OUT", shlex.quote(str(folder)))
    manifest = Manifest(folder)
    manifest.content["bundle"] = state_of_run(manifest)
    manifest.save()
    return target


def _replace(parser: ConfigParser, source: Path, config: dict[str, Any], knobs: dict[str, Any], target: Path) -> None:
    """Write the bundle, unless an equal one is there."""
    facts = read_facts(parser, target.parent)
    comparison = target.with_name(".bundle.new")
    shutil.rmtree(comparison, ignore_errors=True)  # of a killed run; the lock of output_dir is held
    with atomic_folder(comparison) as partial:
        _fill(partial, parser, source, config, knobs, facts)
    try:
        if target.is_dir() and _equal(comparison, target):
            return
        if target.exists():
            target.rename(aside_name(target))
        comparison.rename(target)
    finally:
        shutil.rmtree(comparison, ignore_errors=True)


def _fill(
    folder: Path, parser: ConfigParser, source: Path, config: dict[str, Any], knobs: dict[str, Any], facts: RunFacts
) -> None:
    copy_models(parser, folder / "models")
    write_configs(config, source, knobs, folder / "configs")
    initial = _initial_weights(parser)
    trains = write_training(config, source, knobs, initial, folder / "configs")
    metadata = write_metadata(source / "configs" / "metadata.json", folder / "configs" / "metadata.json", facts)
    further = _started(initial, folder / "models") if trains else None
    (folder / "docs").mkdir()
    (folder / "docs" / "README.md").write_text(
        write_card(metadata, facts, _values(parser, knobs), further), encoding="utf-8"
    )
    (folder / "docs" / "data_license.txt").write_text(DATA_LICENSE, encoding="utf-8")
    if (source / "LICENSE").is_file():
        shutil.copyfile(source / "LICENSE", folder / "LICENSE")


def _initial_weights(parser: ConfigParser) -> str:
    """File in ``models/`` of the network that starts from ``initial_weights``."""
    exported = [name for name, file in trained_files(parser).items() if file.build == "train#trainer"]
    return exported[0] if exported else "model.pt"  # of bundles/auto, whose later steps train the same network


def _started(initial: str, models: Path) -> str:
    """What starts from the weights of the bundle, for its card."""
    if initial == "model.pt" and (models / "classifier.pt").is_file():
        return "The classifier is trained anew; the segmenter starts from `models/model.pt`"
    return f"The classifier starts from `models/{initial}`"


def _values(parser: ConfigParser, knobs: dict[str, Any]) -> dict[str, Any]:
    """Values of the knobs that change masks. That of ``pretrained`` is not computed: it may be a path."""
    shown = {name: parser.get_parsed_content(name) for name in knobs if name not in SPEED_IDS}
    return shown | {name: knobs[name] for name in shown if name == "pretrained"}


def _equal(first: Path, second: Path) -> bool:
    """Whether two bundles have the same weights and configurations."""
    files = [path for name in ("models", "configs") for path in sorted((first / name).iterdir())]
    others = [second / path.relative_to(first) for path in files]
    pairs = zip(files, others, strict=True)
    return all(other.is_file() and filecmp.cmp(path, other, shallow=False) for path, other in pairs)
