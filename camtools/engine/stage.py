"""One step of a bundle: skipped when nothing changed, resumed when it was killed, recorded when it is done."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from monai.utils import set_determinism

from camtools.data.files import write_json
from camtools.engine.config import active_parser, referenced_config
from camtools.engine.manifest import Manifest, digest, digest_unread
from camtools.engine.ranks import Ranks
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
    """Run one stage of the bundle that is being evaluated, if it has work to do.

    The stage's fingerprint covers everything in the configuration that ``build`` refers to, the fingerprints of the
    stages before it, and the content of its inputs, not its items. A finished stage with the same fingerprint and items
    is skipped, and a killed one goes on where it was. Under another fingerprint, what lies in ``folder`` belongs to
    another configuration: it is moved aside to ``<folder>.old-<n>``, never deleted.

    Args:
        name: name of the stage in ``manifest.json`` and in messages.
        build: id of the component whose ``run()`` does the work; built only when there is work.
        output_dir: folder of the run.
        folder: folder that belongs to the stage alone; None for a stage that writes into ``output_dir`` itself.
        writes: names of the files such a stage writes there.
        inputs: files or volume items on which everything in the stage depends.
        items: volume items that the stage treats one by one: when the size, time of change or tags of one differ,
            the stage runs in place, finds by content which are new or changed, and keeps the results of the others.
        after: names of the stages that must be finished before.

    Raises:
        RuntimeError: a stage in ``after`` is not finished.
    """
    parser = active_parser()
    stage = _Stage(name, Path(output_dir), Path(folder) if folder else None, writes)
    ranks = Ranks()
    if ranks.first(lambda: stage.prepare(parser, build, list(inputs), list(items), after)) == WORK:
        set_determinism(parser.get("seed", 0))
        prepare_process()
        started = time.perf_counter()
        parser.get_parsed_content(build).run()
        ranks.gather("done")
        ranks.first(lambda: stage.finish(time.perf_counter() - started))


class _Stage:
    """Record of one stage, kept beside its files and copied into the manifest."""

    def __init__(self, name: str, output_dir: Path, folder: Path | None, writes: Sequence[str]) -> None:
        self.name = name
        self.writes = writes
        self.output_dir = output_dir
        self.folder = folder or output_dir
        self.record_path = self.folder / f"stage-{name}.json"

    def prepare(self, parser: Any, build: str, inputs: list[Any], items: list[Any], after: Sequence[str]) -> int:
        manifest = Manifest(self.output_dir)
        manifest.describe(parser.config)
        upstream = {previous: self._finished(manifest, previous) for previous in after}
        config = referenced_config(parser, build)
        fingerprint = digest({"config": config, "after": upstream, "inputs": manifest.hash_inputs(inputs)})
        old = json.loads(self.record_path.read_text(encoding="utf-8")) if self.record_path.is_file() else None
        item_hash = digest_unread(items)
        record = {"name": self.name, "fingerprint": fingerprint, "items": item_hash, "status": "running"}
        if old and old["fingerprint"] == fingerprint:
            if old["status"] == "done" and old["items"] == item_hash and self._intact(old):
                logger.info("%s: nothing changed since it finished, skipped", self.name)
                self._note(manifest, old)
                return SKIP
            logger.info("%s: continues in %s", self.name, self.folder)
            self._remove_partial_files()
        elif old and self.folder != self.output_dir:
            self._move_aside()
        logger.info("%s: starts", self.name)
        write_json(record, self.record_path)
        self._note(manifest, record)
        return WORK

    def finish(self, seconds: float) -> None:
        record: dict[str, Any] = json.loads(self.record_path.read_text(encoding="utf-8"))
        record |= {"status": "done", "seconds": round(seconds, 1), "outputs": self._outputs()}
        write_json(record, self.record_path)
        self._note(Manifest(self.output_dir), record)
        logger.info("%s: finished in %.1f s", self.name, seconds)

    def _finished(self, manifest: Manifest, previous: str) -> str:
        record = manifest.content["stages"].get(previous, {})
        if record.get("status") != "done":
            raise RuntimeError(
                f"'{self.name}' needs the stage '{previous}', which is not finished in {self.output_dir}. "
                f"Run it first: python -m monai.bundle run {previous} with the same arguments."
            )
        return str(record["fingerprint"])

    def _outputs(self) -> dict[str, int]:
        if self.folder == self.output_dir:
            files = [self.folder / name for name in self.writes]
        else:
            files = [path for path in self.folder.rglob("*") if path.is_file()]
        kept = [path for path in sorted(files) if path != self.record_path and not path.name.startswith("events.out")]
        return {str(path.relative_to(self.folder)): path.stat().st_size for path in kept}

    def _intact(self, record: dict[str, Any]) -> bool:
        paths = {self.folder / name: size for name, size in record["outputs"].items()}
        return all(path.is_file() and path.stat().st_size == size for path, size in paths.items())

    def _remove_partial_files(self) -> None:
        """What processes that were killed had begun to write."""
        if self.folder != self.output_dir:
            for path in self.folder.rglob(".part-*"):
                path.unlink()

    def _move_aside(self) -> None:
        number = 1
        while (aside := self.folder.with_name(f"{self.folder.name}.old-{number}")).exists():
            number += 1
        self.folder.rename(aside)
        logger.info("%s: configuration or data changed; the earlier files are kept in %s", self.name, aside)

    def _note(self, manifest: Manifest, record: dict[str, Any]) -> None:
        manifest.content["stages"][self.name] = record | {"folder": str(self.folder)}
        manifest.save()
