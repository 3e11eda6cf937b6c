"""One run per method of a paper's table, with a shared classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import monai.bundle

__all__ = ["run_methods"]

SHARED = {
    "cache_dir": "cache",
    "pretrain_dir": "pretraining",
    "classifier_dir": "classifier",
    "pseudo_label_dir": "pseudo_labels",
}


def run_methods(
    config_files: Sequence[str | Path],
    output_dir: str | Path,
    methods: Sequence[str],
    overrides: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Run a bundle's training once per method. The first run trains the classifier and the other runs reuse it.

    Args:
        config_files: ``train.yaml`` of a bundle and overlays, in order.
        output_dir: the runs go to ``output_dir/<method>``, the classifier to ``output_dir/classifier``, and prepared
            slices to ``output_dir/cache``. Where the
            methods of the bundle share them, the pre-training goes to ``output_dir/pretraining`` and the pseudo-labels
            to ``output_dir/pseudo_labels``.
        methods: names under ``methods`` in the configuration.
        overrides: further ids and values, as for ``python -m monai.bundle run``.

    Returns:
        The folders of the runs, in the order of ``methods``.

    Raises:
        ValueError: the configuration does not define a method.
    """
    files = [str(path) for path in config_files]
    config = monai.bundle.ConfigParser.load_config_files(files)
    known = config.get("methods", {})
    unknown = [method for method in methods if method not in known]
    if unknown:
        raise ValueError(
            f"Expected a method of {files[0]} ({', '.join(known)}), found '{unknown[0]}'. Choose one of these."
        )
    runs = []
    for method in methods:
        run = Path(output_dir).resolve() / method
        places = {"output_dir": str(run)}
        places |= {key: str(run.with_name(name)) for key, name in SHARED.items() if key in config}
        monai.bundle.run(config_file=files, **{"method": method} | places | dict(overrides or {}))
        runs.append(run)
    return runs
