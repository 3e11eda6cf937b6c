"""The trained files of a run, copied with the settings of their training."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from monai.bundle import ConfigParser

from camtools.data.errors import DataError
from camtools.engine.model_settings import settings_of_training
from camtools.engine.trained_run import EXPORTS
from camtools.networks.weight_settings import with_settings
from camtools.networks.weights import read_weights

__all__ = ["TrainedFile", "copy_models", "trained_files"]


@dataclass(frozen=True)
class TrainedFile:
    """A file that a stage of a run wrote.

    Attributes:
        build: id of the component that wrote it.
        path: the file, in the folder of the stage.
    """

    build: str
    path: Path


def trained_files(parser: ConfigParser) -> dict[str, TrainedFile]:
    """Files of a run by the name that ``inference.yaml`` gives them, such as ``model.pt`` and ``choice.json``.

    They are taken from the folders of the stages and not from ``export_dir``, where another run may have written since.
    Without ``model.pt`` the method of the run is a row of a table, and exports none.
    """
    found = {}
    for export in EXPORTS:
        build = export.removesuffix("#export_path")
        exported = parser.get_parsed_content(export) if export in parser else None
        if exported is not None:
            name = Path(exported).name
            own = name if name.endswith(".json") else "model.pt"
            found[name] = TrainedFile(build, Path(parser.get_parsed_content(f"{build}#folder")) / own)
    # a choice that was given; the run then made none
    choice = parser.get_parsed_content("choice") if "choice" in parser else None
    if choice is not None and "choice.json" in found:
        found["choice.json"] = TrainedFile("tuning", Path(choice))
    return found


def copy_models(parser: ConfigParser, target: Path) -> None:
    """Copy the trained files of a run to a folder; weights with the settings of their training.

    Raises:
        DataError: the run has no weights of its segmenter.
    """
    target.mkdir()
    for name, file in trained_files(parser).items():
        if not file.path.is_file():
            if name == "model.pt":
                raise DataError(
                    f"Expected trained weights at {file.path}, found none. Run the same training command again."
                )
        elif name.endswith(".pt"):
            weights = read_weights("bundle", file.path)
            torch.save(with_settings(weights, settings_of_training(parser, file.build)), target / name)
        else:
            shutil.copyfile(file.path, target / name)
