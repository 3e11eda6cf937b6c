"""camtools as a contestant of ``cams.py``, the floors, and how a contestant is made ready to be timed."""

from __future__ import annotations

import torch
from cams_peers import PEERS, Library, installed
from cams_tasks import Case, Maps, Run, Task, floor, prepare

from camtools.cams import (
    AblationCAM,
    ActivationMap,
    FullGrad,
    GradCAM,
    GradCAMpp,
    LayerCAM,
    LTGradCAM,
    ScoreCAM,
    XGradCAM,
)

Contestant = tuple[str, str]  # library and setting
PLAIN_FLOOR, OUR_FLOOR, OURS = ("plain floor", ""), ("our floor", ""), ("camtools", "default")

CLASSES: dict[str, type[ActivationMap]] = {
    "gradcam": GradCAM,
    "gradcampp": GradCAMpp,
    "xgradcam": XGradCAM,
    "layercam": LayerCAM,
    "ltgradcam": LTGradCAM,
    "fullgrad": FullGrad,
    "scorecam": ScoreCAM,
    "ablationcam": AblationCAM,
}


class Camtools:
    """This package, with its own choice of batch size and memory format."""

    name, package = "camtools", "camtools"

    def settings(self, method: str) -> tuple[str, ...]:
        """Score-CAM is forward passes only: half precision and compilation are worth their while."""
        more = ("bfloat16", "compiled", "compiled bfloat16") if method == "scorecam" else ()
        return ("default", "best", *more)

    def run(self, task: Task, setting: str) -> Run:
        """Function that computes the maps of the task."""
        if setting != "default":
            task.channels_last()
        if "bfloat16" in setting:
            task.model, task.images = task.model.bfloat16(), task.images.bfloat16()
        if "compiled" in setting:
            task.model = torch.compile(task.model)
        cam = self.extractor(task)
        return lambda: cam(task.images, target=task.targets)

    def extractor(self, task: Task) -> ActivationMap:
        """The object of the task's method."""
        cls = CLASSES[task.method]
        return FullGrad(task.model) if cls is FullGrad else cls(task.model, task.layers)

    def raw(self, task: Task) -> Maps:
        """Maps at the resolution of their layers."""
        with torch.no_grad():
            return [maps[:, 0] for maps in self.extractor(task).layer_maps(task.images, task.targets)]


LIBRARIES: tuple[Library, ...] = (Camtools(), *PEERS)


def contestants(case: Case, names: set[str], settings: set[str]) -> list[Contestant]:
    """Floors, camtools and the peers that are installed, each in the settings that suit a case."""
    chosen = [PLAIN_FLOOR, OUR_FLOOR]
    for library in LIBRARIES:
        if library.name in names and installed(library):
            chosen += [(library.name, setting) for setting in library.settings(case.method) if setting in settings]
    if case.dtype != "float32":
        chosen = [(name, setting) for name, setting in chosen if "bfloat16" not in setting]
    return chosen


def ready(case: Case, contestant: Contestant) -> Run:
    """Function that computes the maps of a case the way the contestant does, on a model of its own."""
    return make(contestant, prepare(case))


def make(contestant: Contestant, task: Task) -> Run:
    """Like :func:`ready`, on a task that is there."""
    name, setting = contestant
    if contestant in (PLAIN_FLOOR, OUR_FLOOR):
        return floor(task, ours=contestant == OUR_FLOOR)
    library = next(library for library in LIBRARIES if library.name == name)
    return library.run(task, setting)
