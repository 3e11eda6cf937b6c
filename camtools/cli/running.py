"""The commands ``camtools train`` and ``camtools predict``: short forms of ``python -m monai.bundle run``."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from camtools.cli.common import overrides, plain_errors

__all__ = ["bundle_command", "check_listed", "find_bundle", "in_shell", "predict", "train", "written"]

FIXED = ("config_file", "run_id", "dataset_dir", "export_dir")  # knobs that the commands set themselves

Bundles = Annotated[Path, typer.Option(help="Folder that holds the bundles.")]
# both spellings: a knob of the bundle has this name
_RunFolder = Annotated[Path, typer.Option("--output-dir", "--output_dir", help="Folder of the run.")]
_MaskFolder = Annotated[Path, typer.Option("--output-dir", "--output_dir", help="Masks go to its predictions/.")]


def train(
    context: typer.Context,
    bundle: Annotated[str, typer.Argument(help="umcam, cfdcam, ltgradcam, oeem, auto, or the folder of a bundle.")],
    folder: Annotated[Path, typer.Argument(help="Folder with dataset.json, as camtools tag and import write it.")],
    output_dir: _RunFolder,
    preset: Annotated[str | None, typer.Option(help="small (a CPU) or paper; default: sizes of the phantoms.")] = None,
    bundles: Bundles = Path("bundles"),
) -> None:
    """Train a bundle on a folder; the same command resumes a training that was interrupted.

    What follows as ``--knob value`` sets knobs of the bundle. The command that runs is printed first.
    """
    with plain_errors():
        files = [find_bundle(bundles, bundle) / "configs" / "train.yaml"]
        if preset is not None:
            files.append(_preset(files[0], preset))
        check_listed(folder)
        places = {"dataset_dir": folder, "output_dir": output_dir, "export_dir": output_dir / "models"}
        command = bundle_command("run", files, places, context.args)
        _become(command)


def predict(
    run: Annotated[Path, typer.Argument(help="Folder of a training (--output-dir of camtools train) or of a bundle.")],
    new: Annotated[Path, typer.Argument(help="A volume, a folder of volumes, or one with dataset.json (its test).")],
    context: typer.Context,
    output_dir: _MaskFolder,
    bundles: Bundles = Path("bundles"),
) -> None:
    """Segment volumes with the networks and the settings of a training.

    What follows as ``--knob value`` sets knobs of inference.yaml, such as ``--largest_component true``. The command
    that runs is printed first.
    """
    from camtools.engine.trained_run import read_trained

    with plain_errors():
        _check_order([str(run), str(new)])
        given = overrides(context.args)
        trained = read_trained(run, bundles)
        for name in sorted(set(given) & set(trained.knobs)):
            typer.echo(
                f"Note: --{name} {written(given[name])} replaces {written(trained.knobs[name])} of the training."
            )
        settings = {**trained.weights, **trained.knobs}
        kept = {name: value for name, value in settings.items() if name not in given}
        places = {"dataset_dir": new, "output_dir": output_dir, **kept}
        command = bundle_command("run", trained.files, places, context.args)
        _become(command)


def find_bundle(bundles: Path, name: str) -> Path:
    """Folder of the bundle ``name`` below ``bundles``, or ``name`` itself if it is the folder of a bundle.

    Raises:
        ValueError: there is no such bundle.
    """
    known = sorted(path.parents[1].name for path in bundles.glob("*/configs/train.yaml"))
    if name in known:
        return bundles / name
    if (Path(name) / "configs" / "train.yaml").is_file():
        return Path(name)
    raise ValueError(
        f"Expected the name of a bundle in {bundles} ({', '.join(known) or 'none'}), or the folder of one that has "
        f"configs/train.yaml, found {name!r}. Write it first, or give the folder of the bundles with --bundles DIR."
    )


def check_listed(folder: Path) -> None:
    """Stop before anything is started if a folder has no ``dataset.json``.

    Raises:
        FileNotFoundError: it has none.
        ValueError: a knob is in the place of the folder.
    """
    _check_order([str(folder)])
    if not folder.is_dir():
        raise FileNotFoundError(f"Expected a folder with dataset.json, found no folder at {folder}. Check the path.")
    if not os.path.lexists(folder / "dataset.json"):
        raise FileNotFoundError(
            f"Expected dataset.json in {folder}, found none. Write it by tagging the volumes: camtools tag "
            f"{shlex.quote(str(folder))}"
        )


def bundle_command(
    run_id: str, files: Sequence[Path], values: Mapping[str, Any], arguments: Sequence[str]
) -> list[str]:
    """The words of ``python -m monai.bundle run``.

    Args:
        run_id: id to run.
        files: configuration files, in order.
        values: values by id.
        arguments: further ``--id value`` pairs as the user wrote them.

    Raises:
        ValueError: ``arguments`` are not pairs, or set an id that the command sets itself.

    Example:
        >>> bundle_command("check", [Path("train.yaml")], {"pixel_size": 2.0}, ["--seed", "1"])[4:]
        ['check', '--config_file', 'train.yaml', '--pixel_size', '2.0', '--seed', '1']
    """
    fixed = [name for name in overrides(arguments) if name in FIXED]
    if fixed:
        raise ValueError(
            f"Expected knobs of the bundle, found --{fixed[0]}, which this command sets itself. Use python -m "
            "monai.bundle run to set it."
        )
    config = str(files[0]) if len(files) == 1 else str([str(file) for file in files])
    command = ["python", "-m", "monai.bundle", "run", run_id, "--config_file", config]
    for name, value in values.items():
        command += [f"--{name}", written(value)]
    return [*command, *arguments]


def written(value: Any) -> str:
    """A value as it is written on the command line of a bundle.

    Example:
        >>> written(None), written(True), written([16, 16]), written("$None"), written(Path("runs/mine"))
        ('null', 'true', '[16, 16]', '$None', 'runs/mine')
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def in_shell(command: Sequence[str]) -> str:
    r"""A command as it can be pasted into a shell.

    Example:
        >>> in_shell(["python", "--config_file", "['a', 'b']", "--dataset_dir", "my data"])
        'python --config_file "[\'a\', \'b\']" --dataset_dir \'my data\''
    """
    return " ".join(_quoted(word) for word in command)


def _quoted(word: str) -> str:
    """Double quotes around a list of files; :mod:`shlex` would write each of its quotes as five signs."""
    if "'" in word and not set(word) & set('"$`\\!'):
        return f'"{word}"'
    return shlex.quote(word)


def _become(command: Sequence[str]) -> None:
    """Print a command and let it take the place of this process, with its exit code and its answer to signals."""
    typer.echo(in_shell(command))
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *command[1:]])


def _preset(train_file: Path, name: str) -> Path:
    """Overlay of a bundle."""
    known = [preset for preset in ("small", "paper") if train_file.with_name(f"{preset}.yaml").is_file()]
    if name not in known:
        expected = " or ".join(known) or "no preset, as this bundle has none"
        raise ValueError(f"--preset: expected {expected}, found {name!r}. Correct it or leave it out.")
    return train_file.with_name(f"{name}.yaml")


def _check_order(positions: Sequence[str]) -> None:
    knobs = [text for text in positions if text.startswith("--")]
    if knobs:
        raise ValueError(f"Expected the folders before the knobs, found {knobs[0]}. Write it at the end.")
