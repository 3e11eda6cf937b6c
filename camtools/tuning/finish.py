"""How the class probabilities of a segmenter become a mask: the choice, and the file that keeps it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from camtools.data.errors import DataError
from camtools.data.files import write_json
from camtools.engine.records import read_json_object

__all__ = ["FinishChoice", "read_finish", "write_finish"]

FORMAT = "camtools finish choice 1"


@dataclass(frozen=True)
class FinishChoice:
    """From the probability of the object to its mask.

    Attributes:
        threshold: the object is where its probability exceeds it, in (0, 1).
        largest_component: keep only the largest connected component of the volume.

    Raises:
        ValueError: a value of another kind or out of range.

    Example:
        >>> FinishChoice(threshold=0.2).largest_component
        False
    """

    threshold: float = 0.5
    largest_component: bool = False

    def __post_init__(self) -> None:
        number = isinstance(self.threshold, int | float) and not isinstance(self.threshold, bool)
        if not number or not 0 < self.threshold < 1:
            raise ValueError(f"threshold: expected a number above 0 and below 1, found {self.threshold!r}. Correct it.")
        if not isinstance(self.largest_component, bool):
            raise ValueError(
                f"largest_component: expected true or false, found {self.largest_component!r}. Correct it."
            )


def write_finish(choice: FinishChoice, path: str | Path) -> None:
    """Write a choice as JSON, atomically."""
    write_json({"format": FORMAT, **asdict(choice)}, path)


def read_finish(
    path: str | Path, threshold: float | None = None, largest_component: bool | None = None
) -> FinishChoice:
    """The choice in a file, with values that replace it. If both are given, the file is not read.

    Args:
        path: file of :func:`write_finish`.
        threshold: replaces the threshold.
        largest_component: replaces whether only the largest component is kept.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: the file is damaged or is no such choice.
        ValueError: a value out of range.

    Example:
        >>> read_finish("nowhere.json", threshold=0.3, largest_component=False).threshold
        0.3
    """
    given = {"threshold": threshold, "largest_component": largest_component}
    replaced = {name: value for name, value in given.items() if value is not None}
    found = FinishChoice() if len(replaced) == len(given) else _read(Path(path))
    return replace(found, **replaced)  # type: ignore[arg-type]


def _read(path: Path) -> FinishChoice:
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected the threshold of the training at {path}, found no such file. Copy it from the export_dir of the "
            "training, or give --threshold 0.5 --largest_component false."
        )
    content, why = read_json_object(path)
    try:
        if content is None or content.pop("format", None) != FORMAT:
            raise ValueError(why or f"expected the format {FORMAT!r}")
        return FinishChoice(**content)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"Expected the threshold of a training in {path}, found another content ({error}). Copy it again from the "
            "export_dir of the training."
        ) from error
