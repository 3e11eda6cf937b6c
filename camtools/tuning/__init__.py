"""The method that makes masks, chosen on the validation volumes of a user."""

from camtools.tuning.choice import MaskChoice, read_choice, write_choice
from camtools.tuning.component import MaskTuning
from camtools.tuning.decision import Decision, decide
from camtools.tuning.default import default_choice, middle_layer
from camtools.tuning.evidence import mask_evidence
from camtools.tuning.finish import FinishChoice, read_finish, write_finish
from camtools.tuning.finish_transform import ChosenFinishd
from camtools.tuning.finish_tuning import FinishTuning, dice_of_finishes
from camtools.tuning.fusions import FUSIONS, fused_map
from camtools.tuning.masks import choice_cam, choice_mask
from camtools.tuning.methods import DEFAULT_METHODS, METHODS, simplicity
from camtools.tuning.outputs import format_tuning, write_tuning
from camtools.tuning.search import SearchResult, search_masks
from camtools.tuning.settings import TuningSettings
from camtools.tuning.transform import TunedMasksd
from camtools.tuning.tuning import Tuning, tune_masks

__all__ = [
    "DEFAULT_METHODS",
    "FUSIONS",
    "METHODS",
    "ChosenFinishd",
    "Decision",
    "FinishChoice",
    "FinishTuning",
    "MaskChoice",
    "MaskTuning",
    "SearchResult",
    "TunedMasksd",
    "Tuning",
    "TuningSettings",
    "choice_cam",
    "choice_mask",
    "decide",
    "default_choice",
    "dice_of_finishes",
    "format_tuning",
    "fused_map",
    "mask_evidence",
    "middle_layer",
    "read_choice",
    "read_finish",
    "search_masks",
    "simplicity",
    "tune_masks",
    "write_choice",
    "write_finish",
    "write_tuning",
]
