"""Loading of training samples: batches, worker processes, and the preparation of volumes before the first epoch."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import ignite.distributed as idist
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler
from tqdm import tqdm

from camtools.data.batches import collate_on_canvas, collate_same_size
from camtools.data.errors import DataError, reason
from camtools.data.samples import BatchTransform, VolumeSamples
from camtools.data.slice_cache import SliceCache
from camtools.data.storage import StorageError
from camtools.engine.ranks import Ranks

__all__ = ["PrepareBatch", "prepare_volumes", "set_epoch", "slice_loader"]

logger = logging.getLogger("camtools")

MOST_WORKERS = 4
FEWEST_VOLUMES = 16  # for which starting worker processes pays


def slice_loader(
    dataset: VolumeSamples,
    batch_size: int,
    shuffle: bool = True,
    num_workers: int | None = None,
    drop_last: bool = False,
) -> DataLoader[dict[str, Any]]:
    """Data loader over slices or patches. Several processes share the samples.

    Args:
        dataset: the samples. With an augmentation, samples of different sizes may share a batch.
        batch_size: samples per batch and process.
        shuffle: draw a new order in every epoch.
        num_workers: processes that read samples ahead. They do not change the samples. None: none for training on a
            CPU, which needs all cores itself, and up to 4 where there is a GPU.
        drop_last: leave out an incomplete last batch, unless it is the only one, since batch normalisation cannot train
            on a single sample.
    """
    processes = {"num_replicas": idist.get_world_size(), "rank": idist.get_rank()}
    sampler: DistributedSampler[Any] = DistributedSampler(dataset, shuffle=shuffle, **processes)
    workers = _default_workers() if num_workers is None else num_workers
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        collate_fn=collate_same_size if dataset.augmentation is None else collate_on_canvas,
        drop_last=drop_last and len(sampler) >= batch_size,
        generator=torch.Generator(),  # with the default one, worker processes would change the draws of dropout
    )


def _default_workers() -> int:
    if not torch.cuda.is_available():
        return 0
    return min(MOST_WORKERS, torch.get_num_threads())


def set_epoch(loader: DataLoader[Any], epoch: int, seed: int = 0) -> None:
    """Fix the order of the samples of one epoch and the random draws of their augmentation."""
    if isinstance(loader.sampler, DistributedSampler):
        loader.sampler.set_epoch(seed + 1000 * epoch)
    if isinstance(loader.dataset, VolumeSamples):
        loader.dataset.set_epoch(epoch)


class PrepareBatch:
    """Move image and label of a batch to the device, and augment them there.

    Args:
        augmentation: random transform of whole batches, or None.
    """

    def __init__(self, augmentation: BatchTransform | None = None) -> None:
        self.augmentation = augmentation

    def __call__(
        self, batch: dict[str, Any], device: torch.device | str, non_blocking: bool = False, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Images and labels, as the trainer passes them to the network and to the loss."""
        moved = batch | {key: batch[key].to(device, non_blocking=non_blocking) for key in ("image", "label")}
        if self.augmentation is not None:
            moved = self.augmentation(moved)
        return moved["image"], moved["label"]


def prepare_volumes(datasets: Sequence[VolumeSamples], name: str) -> None:
    """Fill the cache of datasets before the first epoch. The processes of a run share the volumes.

    Without a cache nothing is done: volumes are then prepared when they are first needed.

    Args:
        datasets: samples of training and validation.
        name: of the stage, for the progress bar and the log.

    Raises:
        DataError: a volume cannot be used.
        StorageError: the cache cannot be written.
    """
    for dataset in datasets:
        if dataset.cache is not None:
            _fill(dataset, dataset.cache, name)
    caches = [dataset.cache for dataset in datasets if dataset.cache is not None]
    if caches and idist.get_rank() == 0:
        size = caches[0].size() / 1e9
        logger.info("%s: prepared slices take %.2f GB in %s, which may be removed", name, size, caches[0].folder)


def _fill(dataset: VolumeSamples, cache: SliceCache, name: str) -> None:
    cache.remove_unfinished()
    ranks, rank = Ranks(), idist.get_rank()
    share = range(rank, len(dataset.data), idist.get_world_size())
    found: dict[int, Any] = {}
    failure: Exception | None = None
    for volume, slices, error in tqdm(
        _prepared(dataset, share), desc=f"{name}: prepare", total=len(share), unit="volume", disable=rank > 0 or None
    ):
        found[volume] = slices
        if error is not None:
            failure = error
            break
    for error in filter(None, ranks.gather(failure)):
        raise error
    for part in ranks.gather(found):
        dataset.add_slices(part)


def _prepared(dataset: VolumeSamples, share: range) -> Iterator[tuple[int, Any, Exception | None]]:
    workers = min(MOST_WORKERS, torch.get_num_threads()) if len(share) >= FEWEST_VOLUMES else 0
    workers = 0 if workers == 1 else workers
    loader = DataLoader(_Volumes(dataset, share), batch_size=None, shuffle=False, num_workers=workers)
    yield from loader


class _Volumes(Dataset[tuple[int, Any, Exception | None]]):
    """Preparation of one volume per access. Errors are returned, since worker processes change their messages."""

    def __init__(self, samples: VolumeSamples, share: range) -> None:
        self.samples = samples
        self.share = share

    def __len__(self) -> int:
        return len(self.share)

    def __getitem__(self, index: int) -> tuple[int, Any, Exception | None]:
        volume = self.share[index]
        try:
            return volume, dict(self.samples.slices(volume)), None
        except StorageError as error:
            return volume, None, error
        except Exception as error:
            logger.debug("%s", reason(error), exc_info=True)
            return volume, None, DataError(reason(error))
