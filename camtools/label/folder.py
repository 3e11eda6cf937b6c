"""The folder of a MONAI Label app: its ``main.py`` and a copy of each trained bundle."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from camtools.data.files import atomic_folder, atomic_path
from camtools.engine.model_settings import check_weights
from camtools.engine.write_knobs import write_knobs

__all__ = ["prepare_app", "trained_bundles"]

logger = logging.getLogger("camtools")

_MAIN = '''"""Written by camtools: MONAI Label looks for its app in this file."""

from camtools.label.app import BundlesApp

__all__ = ["BundlesApp"]
'''


def trained_bundles(bundles: str | Path, names: Sequence[str] | None = None) -> list[Path]:
    """Folders of the bundles that can segment: those with ``models/model.pt``.

    Args:
        bundles: folder that holds the bundles, such as ``bundles``.
        names: bundles to serve; None for all trained bundles.

    Raises:
        ValueError: an unknown name of a bundle.
        FileNotFoundError: a named bundle is not trained, or no bundle is.
    """
    found = sorted(path.parents[1] for path in Path(bundles).glob("*/configs/inference.yaml"))
    known = [bundle.name for bundle in found]
    if unknown := [name for name in names or [] if name not in known]:
        raise ValueError(
            f"Expected names of bundles in {bundles} ({', '.join(known) or 'none'}), found {unknown[0]!r}."
        )
    wanted = [bundle for bundle in found if names is None or bundle.name in names]
    trained = [bundle for bundle in wanted if (bundle / "models" / "model.pt").is_file()]
    missing = [bundle for bundle in wanted if bundle not in trained]
    if not trained or (names is not None and missing):
        place = ", ".join(map(str, missing)) or f"a bundle in {bundles}"
        raise FileNotFoundError(
            f"Expected trained weights in models/model.pt of {place}, found none. Train first: "
            "python -m monai.bundle run --config_file BUNDLE/configs/train.yaml."
        )
    return trained


def prepare_app(bundles: Sequence[Path], app: str | Path, knobs: Mapping[str, Any] | None = None) -> Path:
    """Create or complete the folder of a MONAI Label app, and return it.

    Each bundle is copied to ``app/model/<name>``, because MONAI Label trains in place and the source must not
    change. An existing copy is kept, since it may hold weights trained from users' labels.

    Args:
        bundles: folders of trained bundles (:func:`trained_bundles`).
        app: folder of the app; created if it does not exist.
        knobs: values to write into the copies' ``train.yaml`` and ``inference.yaml``, each into the files that have it.

    Raises:
        ValueError: no bundle has one of the knobs.
        DataError: the weights of a copy were trained under other settings.
    """
    folder = Path(app).resolve()
    with atomic_path(folder / "main.py") as temporary:
        temporary.write_text(_MAIN, encoding="utf-8")
    for bundle in bundles:
        target = folder / "model" / bundle.name
        if target.exists():
            logger.info("%s: its copy in %s is used; move it away to start from %s again", bundle.name, target, bundle)
            continue
        target.parent.mkdir(exist_ok=True)
        with atomic_folder(target) as partial:
            shutil.copytree(bundle, partial, ignore=shutil.ignore_patterns("output"), dirs_exist_ok=True)
    knobs = knobs or {}
    copies = [folder / "model" / bundle.name / "configs" for bundle in bundles]
    known = set().union(*(write_knobs(configs, knobs, ("train.yaml", "inference.yaml")) for configs in copies))
    if unknown := sorted(set(knobs) - known):
        raise ValueError(f"Expected knobs of {', '.join(bundle.name for bundle in bundles)}, found --{unknown[0]}.")
    for bundle in bundles:
        _check_settings(folder / "model" / bundle.name)
    return folder


def _check_settings(bundle: Path) -> None:
    """Stop before the server starts if the configuration of a copy is not that of its weights."""
    parser = ConfigParser(ConfigParser.load_config_file(bundle / "configs" / "inference.yaml"))
    parser["bundle_root"] = str(bundle)
    check_weights(parser, [bundle / "models" / "model.pt"], "network_def")
