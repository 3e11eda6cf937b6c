"""MONAI dictionary transforms of whole volumes ``(C, X, Y, Z)``, for the YAML files of the bundles."""

from camtools.transforms.across_slices import AverageAcrossSlicesd
from camtools.transforms.bias_field import N4BiasFieldd
from camtools.transforms.class_maps import PatchClassMapsd
from camtools.transforms.crf import DenseCRFd
from camtools.transforms.finish import FinishPredictiond, LargestLogitd
from camtools.transforms.intensities import ScaleSlicesd
from camtools.transforms.intensity_choice import intensity
from camtools.transforms.maps import (
    ActivationMapsd,
    FuseMapsd,
    MaskAsPseudoLabeld,
    NormalizeMapsd,
    SeedPseudoLabeld,
    ThresholdMapsd,
)
from camtools.transforms.percentiles import ScalePercentilesd
from camtools.transforms.prediction import GateSlicesd, PredictVolumed
from camtools.transforms.prepare import InPlaneSpacingd, LoadVolumed, PrepareVolumed, SliceAxisLastd
from camtools.transforms.relabel import SharesToLabelsd, TagGatedSharesd
from camtools.transforms.zscore import ZScored

__all__ = [
    "ActivationMapsd",
    "AverageAcrossSlicesd",
    "DenseCRFd",
    "FinishPredictiond",
    "FuseMapsd",
    "GateSlicesd",
    "InPlaneSpacingd",
    "LargestLogitd",
    "LoadVolumed",
    "MaskAsPseudoLabeld",
    "N4BiasFieldd",
    "NormalizeMapsd",
    "PatchClassMapsd",
    "PredictVolumed",
    "PrepareVolumed",
    "ScalePercentilesd",
    "ScaleSlicesd",
    "SeedPseudoLabeld",
    "SharesToLabelsd",
    "SliceAxisLastd",
    "TagGatedSharesd",
    "ThresholdMapsd",
    "ZScored",
    "intensity",
]
