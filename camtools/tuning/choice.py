"""How masks are made of a trained classifier: the result of a tuning, and the file that keeps it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from camtools.crf import DenseCRF
from camtools.data.errors import DataError
from camtools.data.files import write_json
from camtools.engine.records import read_json_object
from camtools.scores.map_methods import MAP_CLASSES
from camtools.thresholds import Rule, check_rule
from camtools.tuning.fusions import FUSIONS

__all__ = ["FORMAT", "MaskChoice", "Refinement", "checked_scales", "read_choice", "write_choice"]

FORMAT = "camtools mask choice 1"
"""Value of ``format`` in the file of a choice."""

Refinement = Literal["none", "geodesic", "crf"]
GEODESIC = ("alpha", "margin", "passes")
OWN_LAYERS = ("fullgrad", "ltfullgrad")  # they read every layer with a bias


@dataclass(frozen=True)
class MaskChoice:
    """Which map of which layers becomes a mask, and how.

    Attributes:
        method: class of the activation maps, a key of ``camtools.scores.map_methods.MAP_CLASSES``.
        layers: names of the layers whose maps are read. Empty for ``fullgrad`` and ``ltfullgrad``, which read all
            layers with a bias.
        fusion: how the maps of the layers become one, a key of ``camtools.tuning.FUSIONS``.
        threshold: on the fused map divided by its maximum: a number in (0, 1), or ``"otsu"`` or ``"midpoint"`` of each
            map (:func:`camtools.thresholds.map_threshold`).
        refinement: ``"none"``: the mask is where the map exceeds the threshold. ``"crf"``: a dense CRF, whose unary
            term is one half at the threshold (:func:`camtools.fusion.centre_at_threshold`). ``"geodesic"``: seeds of
            the thresholded map, grown by geodesic distance (:func:`camtools.geodesic.seed_pseudo_label`).
        mirrored: average the maps of the image and of its two mirror images (:class:`camtools.cams.MirroredMaps`).
        scales: sizes of the image whose maps are averaged (:class:`camtools.cams.MultiScaleMaps`).
        options: further arguments of the class of activation maps, such as ``percentile``.
        parameters: arguments of :class:`camtools.crf.DenseCRF`, or ``alpha``, ``margin`` and ``passes`` of the
            geodesic refinement.

    Raises:
        ValueError: an unknown name, a threshold outside (0, 1), no layer, or a parameter that the refinement does not
            have.

    Example:
        >>> choice = MaskChoice("layercam", ("features.22",), threshold=0.4, refinement="crf")
        >>> choice == MaskChoice.from_dict(choice.to_dict())
        True
    """

    method: str
    layers: tuple[str, ...] = ()
    fusion: str = "mean"
    threshold: Rule = "otsu"
    refinement: Refinement = "none"
    mirrored: bool = False
    scales: tuple[float, ...] = (1.0,)
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        # a choice that was read from a file and one that was made in Python are equal
        object.__setattr__(self, "layers", tuple(self.layers))
        for name in ("options", "parameters"):
            object.__setattr__(self, name, _plain(getattr(self, name)))
        _check_name("method", self.method, MAP_CLASSES)
        _check_name("fusion", self.fusion, FUSIONS)
        _check_name("refinement", self.refinement, get_args(Refinement))
        if not isinstance(self.mirrored, bool):
            raise ValueError(f"mirrored: expected true or false, found {self.mirrored!r}. Correct it.")
        object.__setattr__(self, "scales", checked_scales(self.scales))
        check_rule(self.threshold)
        if isinstance(self.threshold, int | float):
            object.__setattr__(self, "threshold", float(self.threshold))
        if any(not isinstance(layer, str) for layer in self.layers):
            raise ValueError(f"layers: expected names of layers, found {list(self.layers)!r}.")
        if not self.layers and self.method not in OWN_LAYERS:
            raise ValueError(f"layers: expected one or more names of layers for {self.method}, found none. Name them.")
        self._check_parameters()

    def _check_parameters(self) -> None:
        known: dict[str, tuple[str, ...]] = {"none": (), "geodesic": GEODESIC}
        known["crf"] = tuple(one.name for one in fields(DenseCRF))
        unknown = [name for name in self.parameters if name not in known[self.refinement]]
        if unknown:
            raise ValueError(
                f"parameters: expected some of {', '.join(known[self.refinement]) or 'none'} for the refinement "
                f"{self.refinement}, found {', '.join(unknown)}. Remove them."
            )
        if self.refinement == "crf":
            DenseCRF(**self.parameters)

    def to_dict(self) -> dict[str, Any]:
        """The choice as JSON values, with its format."""
        return {"format": FORMAT, **asdict(self), "layers": list(self.layers), "scales": list(self.scales)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> MaskChoice:
        """Read what :meth:`to_dict` gives; ``format`` may be left out.

        Raises:
            ValueError: another format, an unknown or missing key, or a value that a choice cannot have.
        """
        given = dict(content)
        found = given.pop("format", FORMAT)
        if found != FORMAT:
            raise ValueError(
                f"format: expected {FORMAT!r}, found {found!r}. Use the version of camtools that wrote it."
            )
        known = [one.name for one in fields(cls)]
        unknown = sorted(set(given) - set(known))
        if unknown or "method" not in given:
            what = f"the unknown {', '.join(unknown)}" if unknown else "no method"
            raise ValueError(f"expected the keys {', '.join(known)}, found {what}. Correct the keys.")
        if not isinstance(given.get("layers", []), list | tuple):
            raise ValueError(f"layers: expected a list of names, found {given['layers']!r}.")
        for name in ("options", "parameters"):
            if not isinstance(given.get(name, {}), Mapping):
                raise ValueError(f"{name}: expected names and values, found {given[name]!r}.")
        return cls(**given)

    @property
    def map_name(self) -> tuple[Any, ...]:
        """What the fused map depends on. Choices that differ in threshold and refinement alone have equal names."""
        return (
            self.method,
            json.dumps(self.options, sort_keys=True),
            self.layers,
            self.fusion,
            self.mirrored,
            self.scales,
        )


def write_choice(choice: MaskChoice, path: str | Path) -> None:
    """Write a choice as JSON, atomically."""
    write_json(choice.to_dict(), path)


def read_choice(source: MaskChoice | Mapping[str, Any] | str | Path) -> MaskChoice:
    """A choice as it is, from a dictionary, or from a file of :func:`write_choice`.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: the file is damaged or is no choice.
        ValueError: a dictionary that is no choice.

    Example:
        >>> read_choice({"method": "layercam", "layers": ["layer3"], "threshold": 0.5}).threshold
        0.5
    """
    if isinstance(source, MaskChoice):
        return source
    if isinstance(source, Mapping):
        return MaskChoice.from_dict(source)
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected the choice of a tuning at {path}, found no such file. Write it: camtools tune, or correct the "
            "path."
        )
    content, why = read_json_object(path)
    if content is None:
        raise DataError(f"Expected a choice (a JSON object) in {path}, found another content ({why}). Write it again.")
    try:
        return MaskChoice.from_dict(content)
    except (ValueError, TypeError) as error:
        raise DataError(f"Expected a choice of camtools tune in {path}: {error}") from error


def checked_scales(scales: object) -> tuple[float, ...]:
    """Sizes relative to the image.

    Raises:
        ValueError: none, or one that is no positive number.

    Example:
        >>> checked_scales([1, 1.25])
        (1.0, 1.25)
    """
    given = scales if isinstance(scales, list | tuple) else ()
    numbers = [value for value in given if isinstance(value, int | float) and not isinstance(value, bool) and value > 0]
    if not numbers or len(numbers) < len(given):
        raise ValueError(f"scales: expected one or more positive numbers, found {scales!r}. Give [1.0] for one size.")
    return tuple(float(value) for value in numbers)


def _check_name(what: str, name: object, known: Any) -> None:
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"{what}: expected one of {', '.join(known)}, found {name!r}. Choose one of them.")


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back: tuples become lists."""
    return {str(name): list(value) if isinstance(value, tuple) else value for name, value in values.items()}
