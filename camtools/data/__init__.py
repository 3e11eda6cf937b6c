"""Data: what ``dataset.json`` lists, slice tags, volumes as batches of slices, phantoms."""

from camtools.data.builtin import builtin_dataset
from camtools.data.datalist import case_name, list_volumes, load_datalist, volumes_in
from camtools.data.errors import DataError
from camtools.data.geometry import slices_to_volume, stacking_axis, volume_to_slices
from camtools.data.patch_dataset import PatchDataset
from camtools.data.patch_tags import PatchTagger
from camtools.data.shards import shard_folder, shard_items
from camtools.data.slice_cache import SliceCache
from camtools.data.slice_dataset import SliceDataset
from camtools.data.slicing import dataset_slice_axis
from camtools.data.splits import Splits
from camtools.data.tags import slice_tags
from camtools.data.volume_dataset import VolumeDataset
from camtools.data.volumes import read_volume
from camtools.data.working_size import dataset_channels, working_pixel_size

__all__ = [
    "DataError",
    "PatchDataset",
    "PatchTagger",
    "SliceCache",
    "SliceDataset",
    "Splits",
    "VolumeDataset",
    "builtin_dataset",
    "case_name",
    "dataset_channels",
    "dataset_slice_axis",
    "list_volumes",
    "load_datalist",
    "read_volume",
    "shard_folder",
    "shard_items",
    "slice_tags",
    "slices_to_volume",
    "stacking_axis",
    "volume_to_slices",
    "volumes_in",
    "working_pixel_size",
]
