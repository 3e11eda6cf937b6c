"""One step of a bundle. It is skipped if nothing changed, resumed if it was killed, and recorded when it is done."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from monai.utils import set_determinism

from camtools.data.errors import DataError
from camtools.data.files import aside_name, write_json
from camtools.data.partials import is_partial, remove_partial_files
from camtools.engine.config import active_parser, referenced_config
from camtools.engine.locks import LOCK_NAME
from camtools.engine.manifest import Manifest, digest, digest_unread
from camtools.engine.model_settings import check_weights, settings_of_training
from camtools.engine.ranks import Ranks
from camtools.engine.records import Record, read_record, record_path
from camtools.engine.run_locks import RunLocks, locks_of_run
from camtools.engine.signals import signals_as_exits
from camtools.process import prepare_process

__all__ = ["run_stage"]

logger = logging.getLogger("camtools")
SKIP, WORK = 0, 1


def run_stage(
    name: str,
    build: str,
    output_dir: str | Path,
    folder: str | Path | None = None,
    writes: Sequence[str] = (),
    inputs: Iterable[Any] = (),
    items: Iterable[Any] = (),
    after: Sequence[str] = (),
) -> None:
    """Run one stage of the running bundle, if it has work to do.

    The fingerprint of the stage covers everything in the configuration that ``build`` refers to, the fingerprints of
    the stages in ``after``, and the content of ``inputs``. It does not cover ``items``. A finished stage with the same
    fingerprint and items is skipped. A killed stage with the same fingerprint continues where it stopped. If the
    fingerprint differs, the files in the folder belong to another configuration. The folder is then renamed to
    ``<folder>.old-<n>`` and never deleted.

    Args:
        name: name of the stage in ``manifest.json``, in messages and in progress bars.
        build: id of the component whose ``run()`` does the work. It is built only if there is work.
        output_dir: folder of the run.
        folder: folder that belongs to this stage only; None takes the argument ``folder`` of the component. Without
            either, the stage writes into ``output_dir`` itself.
        writes: names of the files that a stage without its own folder writes.
        inputs: files or volume items on which the whole stage depends.
        items: volume items that the stage processes one by one. If the file size, modification time or tags of one
            item differ, the stage runs in the same folder, compares the content of each item, and processes only the
            new and changed ones.
        after: names of the stages that must be finished before.

    The run holds the locks of its folders until it ends (``camtools.engine.run_locks``). The locks of ``output_dir``
    and of the folder of a running stage are exclusive. The locks of folders of finished stages are shared with other
    runs that read them.

    Raises:
        RuntimeError: a stage in ``after`` is not finished, or another run has changed its files.
        FolderInUseError: another run uses one of the folders.
        DataError: the folder of the component holds files that no stage wrote.
        StorageError: the record cannot be written.
        DataError: weights among ``inputs`` of ``inference.yaml`` were trained under other settings
            (``camtools.engine.model_settings.check_weights``).
    """
    parser = active_parser()
    ranks = Ranks()
    with locks_of_run() as locks:
        stage = _Stage(name, Path(output_dir), _folder(parser, build, folder), writes, locks)
        if ranks.first(lambda: stage.prepare(parser, build, list(inputs), list(items), after)) == SKIP:
            return
        set_determinism(parser.get("seed", 0))
        prepare_process()
        started = time.perf_counter()
        with signals_as_exits():
            component = parser.get_parsed_content(build)
            component.name = name
            if hasattr(component, "model_settings"):
                component.model_settings = settings_of_training(parser, build)
            component.run()
        ranks.gather("done")
        ranks.first(lambda: stage.finish(time.perf_counter() - started))


def _folder(parser: ConfigParser, build: str, folder: str | Path | None) -> Path | None:
    """Folder of the stage: the given one, or the component's own."""
    if folder is None and f"{build}#folder" in parser:
        folder = parser.get_parsed_content(f"{build}#folder")
    return None if folder is None else Path(folder)


class _Stage:
    """Record of one stage, kept beside its files and copied into the manifest."""

    def __init__(
        self, name: str, output_dir: Path, folder: Path | None, writes: Sequence[str], locks: RunLocks
    ) -> None:
        self.name = name
        self.writes = writes
        self.output_dir = output_dir
        self.folder = folder or output_dir
        self.locks = locks
        self.owns_folder = self.folder.resolve() != output_dir.resolve()
        self.record_path = record_path(self.folder, name)
        self.token = uuid.uuid4().hex

    def prepare(self, parser: Any, build: str, inputs: list[Any], items: list[Any], after: Sequence[str]) -> int:
        check_weights(parser, inputs, build)
        self.locks.hold(self.output_dir, "--output_dir DIR")
        manifest = Manifest(self.output_dir)
        upstream = {previous: self._finished(manifest, previous) for previous in after}
        manifest.describe(parser.config)
        config = referenced_config(parser, build)
        fingerprint = digest({"config": config, "after": upstream, "inputs": manifest.hash_inputs(inputs)})
        item_hash = digest_unread(items)
        self._share_folder()
        old = self._earlier(manifest)
        if old and old["fingerprint"] == fingerprint and old.get("items") == item_hash and self._intact(old):
            logger.info("%s: nothing changed since it finished, skipped", self.name)
            self._copy(manifest, old)
            return SKIP
        self._take_folder()
        if old and old["fingerprint"] == fingerprint:
            logger.info("%s: continues in %s", self.name, self.folder)
        elif old and self.owns_folder:
            self._move_aside()
        elif self.owns_folder:
            self._check_no_strangers()
        self._remove_partial_files()
        logger.info("%s: starts", self.name)
        record = {"name": self.name, "fingerprint": fingerprint, "items": item_hash, "status": "running"}
        self._note(manifest, record | {"run": self.token})
        return WORK

    def finish(self, seconds: float) -> None:
        record = read_record(self.folder, self.name)
        if record is None or record.get("run") != self.token:
            raise RuntimeError(
                f"{self.name}: expected the record of this run, found another one in {self.record_path}. Another "
                "process changed the folder during the run, so the stage is not recorded as finished. Run it again, "
                "and make sure that no other process writes there."
            )
        record |= {"status": "done", "seconds": round(seconds, 1), "outputs": self._outputs()}
        self._note(Manifest(self.output_dir), record)
        self._share_folder()
        where = f": {self.folder}" if self.owns_folder else ""
        logger.info("%s: finished in %.1f s%s", self.name, seconds, where)

    def _finished(self, manifest: Manifest, previous: str) -> str:
        found = manifest.stage(previous)
        advice = f"Run it first: python -m monai.bundle run {previous} with the same arguments."
        if found is None or not found[0].is_dir():
            raise RuntimeError(
                f"{self.name}: expected the stage '{previous}' to be finished, found no finished one in "
                f"{self.output_dir}. {advice}"
            )
        folder, record = found
        if folder.resolve() != self.output_dir.resolve():
            self.locks.share(folder, f"the folder of {previous}")
        own = read_record(folder, previous)
        if own is not None and (own["status"] != "done" or own["fingerprint"] != record["fingerprint"]):
            raise RuntimeError(
                f"{self.name}: expected the files of the stage '{previous}' that {manifest.path} records, found files "
                f"of another run in {folder}. {advice}"
            )
        return str(record["fingerprint"])

    def _earlier(self, manifest: Manifest) -> Record | None:
        """Earlier record of the stage, from its folder, or its copy in the manifest if the first is lost."""
        record = read_record(self.folder, self.name)
        copy = manifest.content["stages"].get(self.name)
        if record is None and copy is not None and self.folder.is_dir() and _same(copy.get("folder"), self.folder):
            logger.warning("%s: its record is restored from %s", self.name, manifest.path)
            record = dict(copy)
            write_json(record, self.record_path)
        return record

    def _outputs(self) -> dict[str, int]:
        if self.owns_folder:
            files = [path for path in self.folder.rglob("*") if path.is_file()]
        else:
            files = [self.folder / name for name in self.writes]
        kept = [path for path in sorted(files) if path != self.record_path and not _is_passing(path)]
        return {str(path.relative_to(self.folder)): path.stat().st_size for path in kept}

    def _intact(self, record: Record) -> bool:
        if record["status"] != "done":
            return False
        paths = {self.folder / name: size for name, size in record["outputs"].items()}
        return all(path.is_file() and path.stat().st_size == size for path, size in paths.items())

    def _share_folder(self) -> None:
        if self.owns_folder:
            self.locks.share(self.folder, f"the folder of {self.name}")

    def _take_folder(self) -> None:
        if self.owns_folder:
            self.locks.hold(self.folder, f"the folder of {self.name}")

    def _check_no_strangers(self) -> None:
        """Reject files of an unknown configuration, which would otherwise pass as the results of a killed stage."""
        found = sorted(path.name for path in self.folder.iterdir() if not _is_passing(path))
        if found:
            raise DataError(
                f"Expected {self.folder}, the folder of '{self.name}', to be new, empty or from an earlier run, found "
                f"{len(found)} entries without {self.record_path.name}, the first {found[0]!r}. Choose another folder "
                "or move them away."
            )

    def _remove_partial_files(self) -> None:
        """Remove files that killed processes left partly written."""
        remove_partial_files(self.output_dir)
        remove_partial_files(self.output_dir / "panels", below=True)
        if self.owns_folder:
            remove_partial_files(self.folder, below=True)

    def _move_aside(self) -> None:
        aside = aside_name(self.folder)
        self.locks.drop(self.folder)
        self.folder.rename(aside)
        self._take_folder()
        logger.info("%s: configuration or data changed; the earlier files are kept in %s", self.name, aside)

    def _note(self, manifest: Manifest, record: Record) -> None:
        write_json(record, self.record_path)
        self._copy(manifest, record)

    def _copy(self, manifest: Manifest, record: Record) -> None:
        manifest.content["stages"][self.name] = record | {"folder": str(self.folder)}
        manifest.save()


def _is_passing(path: Path) -> bool:
    """Whether a file is not a result: a lock, a partly written file, or TensorBoard events."""
    return path.name == LOCK_NAME or is_partial(path) or path.name.startswith("events.out")


def _same(first: Any, second: Path) -> bool:
    return isinstance(first, str) and Path(first).resolve() == second.resolve()
