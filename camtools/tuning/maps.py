"""Maps of the slices that a tuning looks at: once per method for all layers, kept in temporary files."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from camtools.cams import GradientActivationMap
from camtools.fusion import normalize_max
from camtools.networks import members_of
from camtools.scores.map_methods import Cam
from camtools.scores.spool import Spool
from camtools.tuning.choice import MaskChoice
from camtools.tuning.fusions import fused_map
from camtools.tuning.masks import averaged_cam, choice_cam
from camtools.tuning.methods import METHODS, tuned_layers
from camtools.tuning.settings import TuningSettings
from camtools.tuning.shared_pass import SharedPass
from camtools.tuning.slices import PreparedSlices, SliceKey

__all__ = ["LayerMaps", "MethodMaps", "SpooledMaps", "spool_maps"]

logger = logging.getLogger("camtools")


@dataclass(frozen=True)
class LayerMaps:
    """Maps of some slices and one method, in half precision.

    Attributes:
        layers: names of the layers; empty for a method with layers of its own.
        shares: ``(B, L, H, W)`` float16, each map divided by its maximum.
        peaks: ``(B, L, 1, 1)`` float32, the maxima.
    """

    layers: tuple[str, ...]
    shares: Tensor
    peaks: Tensor

    def fused(self, choice: MaskChoice, rows: Tensor | None, device: torch.device) -> Tensor:
        """Fused map ``(B, 1, H, W)`` of a choice, of all slices or of some rows."""
        chosen = [self.layers.index(layer) for layer in choice.layers] or [0]
        shares, peaks = self.shares[:, chosen], self.peaks[:, chosen]
        if rows is not None:
            shares, peaks = shares[rows], peaks[rows]
        return fused_map(shares.to(device).float() * peaks.to(device), choice.fusion)


@dataclass(frozen=True)
class MethodMaps:
    """Slices of one volume and their maps.

    Attributes:
        slices: the slices.
        maps: name of the method -> its maps.
    """

    slices: PreparedSlices
    maps: dict[str, LayerMaps]


@dataclass(frozen=True)
class SpooledMaps:
    """Maps of all slices.

    Attributes:
        parts: the slices and maps, part by part, in temporary files.
        methods: names of the methods that every part has.
        keys: the slices of all parts, in their order; to read them from the parts would load all maps.
    """

    parts: Spool[MethodMaps]
    methods: list[str]
    keys: list[SliceKey]


class _Makers:
    """The CAM objects of all methods, one for each member of an ensemble, and which methods share their passes."""

    def __init__(self, names: Sequence[str], network: nn.Module, settings: TuningSettings) -> None:
        stages = tuple(settings.layers or tuned_layers(network))
        self.settings = settings
        self.layers = {name: _layers(name, stages) for name in names}
        self.cams = {name: self._members(name, network) for name in names}
        self.shared = [name for name, cams in self.cams.items() if isinstance(cams[0], GradientActivationMap)]

    def _members(self, name: str, network: nn.Module) -> list[Cam]:
        method = METHODS[name]
        choice = MaskChoice(method.method, self.layers[name], options=method.options)
        return [choice_cam(choice, member, self.settings.batch_size) for member in members_of(network)]

    def _averaged(self, cams: Sequence[Cam]) -> Cam:
        return averaged_cam(cams, self.settings.mirrored, self.settings.scales)

    def _together(self) -> Cam:
        passes: list[Cam] = []
        for member in range(len(self.cams[self.shared[0]])):
            cams = [self.cams[name][member] for name in self.shared]
            passes.append(SharedPass(cams, cams[0].batch_size))  # type: ignore[arg-type, attr-defined]
        return self._averaged(passes)

    def maps(self, images: Tensor, target: int) -> dict[str, LayerMaps]:
        made: dict[str, LayerMaps] = {}
        if self.shared:
            every = self._together()(images, target=target)
            for name, maps in zip(self.shared, every.chunk(len(self.shared), dim=1), strict=True):
                made[name] = _halved(self.layers[name], maps)
        for name, cams in list(self.cams.items()):
            if name in self.shared:
                continue
            try:
                made[name] = _halved(self.layers[name], self._averaged(cams)(images, target=target))
            except ValueError as error:
                logger.warning("tune: %s is left out, because it does not fit the classifier: %s", name, error)
                del self.cams[name]
        return {name: made[name] for name in self.layers if name in made}


def spool_maps(
    slices: Iterable[PreparedSlices],
    names: Sequence[str],
    network: nn.Module,
    target: int,
    device: torch.device,
    settings: TuningSettings | None = None,
    total: int | None = None,
) -> SpooledMaps:
    """Maps of every method for all slices, in temporary files: 2 bytes a pixel for each map of a layer.

    Methods made of activations and gradients share one forward and one backward pass. A method that does not fit the
    classifier (CAM, where the logits are not the head of an average) is left out with a warning.

    Args:
        slices: prepared slices, a part of a volume at a time.
        names: keys of ``camtools.tuning.METHODS``.
        network: trained classifier.
        target: class of the object.
        device: where maps are computed.
        settings: for ``layers``, ``mirrored``, ``scales`` and ``batch_size``; None: the default.
        total: number of volumes, for the progress bar.

    Raises:
        ValueError: no slice, or no method that fits.
    """
    makers = _Makers(names, network, settings or TuningSettings())
    spool: Spool[MethodMaps] = Spool()
    keys: list[SliceKey] = []
    with tqdm(total=total, desc="tune: maps", unit="volume", disable=None) as bar:
        for part in slices:
            keys += part.keys
            spool.append(MethodMaps(part, makers.maps(part.images.to(device), target)))
            bar.update(part.ends_volume)
    if not keys:
        raise ValueError("Expected slices that show the object, found none to tune on. Check the tags and the masks.")
    if not makers.cams:
        raise ValueError(f"methods: expected one that fits the classifier, found none in {', '.join(names)}.")
    return SpooledMaps(spool, list(makers.cams), keys)


def _layers(name: str, stages: tuple[str, ...]) -> tuple[str, ...]:
    which: dict[str, tuple[str, ...]] = {"own": (), "deepest": stages[-1:]}
    return which.get(METHODS[name].layers, stages)


def _halved(layers: tuple[str, ...], maps: Tensor) -> LayerMaps:
    peaks = maps.amax(dim=(2, 3), keepdim=True)
    return LayerMaps(layers, normalize_max(maps).half().cpu(), peaks.cpu())
