"""MONAI dictionary transforms over whole volumes ``(C, X, Y, Z)``: what the bundles' YAML names."""

from camtools.transforms.class_maps import PatchClassMapsd
from camtools.transforms.crf import DenseCRFd
from camtools.transforms.intensities import ScaleSlicesd
from camtools.transforms.maps import (
    ActivationMapsd,
    FuseMapsd,
    MaskAsPseudoLabeld,
    NormalizeMapsd,
    SeedPseudoLabeld,
    ThresholdMapsd,
)
from camtools.transforms.prediction import GateSlicesd, PredictVolumed
from camtools.transforms.prepare import InPlaneSpacingd, LoadVolumed, SliceAxisLastd, whole_volume
from camtools.transforms.views import RandViewsd

__all__ = [
    "ActivationMapsd",
    "DenseCRFd",
    "FuseMapsd",
    "GateSlicesd",
    "InPlaneSpacingd",
    "LoadVolumed",
    "MaskAsPseudoLabeld",
    "NormalizeMapsd",
    "PatchClassMapsd",
    "PredictVolumed",
    "RandViewsd",
    "ScaleSlicesd",
    "SeedPseudoLabeld",
    "SliceAxisLastd",
    "ThresholdMapsd",
    "whole_volume",
]
