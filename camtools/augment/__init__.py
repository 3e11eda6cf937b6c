"""Random augmentation of whole batches, on the device of the batch."""

from camtools.augment.augmentation import Augmentation
from camtools.augment.batch import Step
from camtools.augment.colour_jitter import ColourJitter
from camtools.augment.intensities import Normalize, RandomGamma, RandomScaleIntensity
from camtools.augment.random_crop import RandomCrop
from camtools.augment.resized_crop import RandomResizedCrop, RandomScaleCrop

__all__ = [
    "Augmentation",
    "ColourJitter",
    "Normalize",
    "RandomCrop",
    "RandomGamma",
    "RandomResizedCrop",
    "RandomScaleCrop",
    "RandomScaleIntensity",
    "Step",
]
