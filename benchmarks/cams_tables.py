"""Markdown tables of the times that ``cams.py`` measured."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from cams_ours import OUR_FLOOR, OURS, PLAIN_FLOOR, Contestant
from cams_tasks import METHODS, Case

PACKAGES = ("torch", "torchvision", "grad-cam", "torchcam", "monai", "numpy")


@dataclass
class Record:
    """What came out of one contestant of one case; ``failure`` in place of the times where it raised an error."""

    case: Case
    contestant: Contestant
    times: list[float]
    peak_mib: float | None = None
    failure: str = ""

    @property
    def seconds(self) -> float:
        """Median of the times; NaN without any."""
        return float(torch.tensor(self.times, dtype=torch.float64).quantile(0.5)) if self.times else float("nan")

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        return {
            **self.case.as_dict(),
            "library": self.contestant[0],
            "setting": self.contestant[1],
            "seconds": self.times,
            "peak_mib": self.peak_mib,
            "failure": self.failure,
        }


def machine(threads: int, reuse_memory: bool) -> dict[str, Any]:
    """What the times depend on: processor, threads, versions."""
    cpus = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return {
        "cpu": next((line.split(": ")[1] for line in cpus if line.startswith("model name")), platform.processor()),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        "threads": threads,
        "memory_reused": reuse_memory,
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def case_table(records: Sequence[Record], with_memory: bool) -> str:
    """Every contestant of the cases that share network, batch and layers."""
    head = ["method", "library", "setting", "s", "images/s", "x plain floor", "x our floor", "x camtools", "calls"]
    rows = []
    for record in records:
        others = {other.contestant: other for other in records if other.case == record.case}
        name, setting = record.contestant
        row = [METHODS[record.case.method], name, setting]
        if record.failure:
            row += ["fails", *[""] * 4, record.failure]
        else:
            ratios = [_ratio(record, others.get(base)) for base in (PLAIN_FLOOR, OUR_FLOOR, OURS)]
            rate = record.case.batch / record.seconds
            row += [f"{record.seconds:.4g}", f"{rate:.3g}", *ratios, str(len(record.times))]
        rows.append(row + ([_mib(record)] if with_memory else []))
    return markdown([*head, "peak MiB"] if with_memory else head, rows)


def layers_text(case: Case) -> str:
    """The layers of a case; FullGrad has no choice of layers."""
    return ", ".join(case.layers) or "all layers"


def summary_table(records: Sequence[Record]) -> str:
    """One row for each case: camtools against the floors, and each peer against camtools at its default."""
    names = dict.fromkeys(record.contestant[0] for record in records)
    peers = [name for name in names if name not in (PLAIN_FLOOR[0], OUR_FLOOR[0], OURS[0])]
    head = ["network", "batch", "layers", "method", "camtools s", "x plain floor", "x our floor"]
    rows = []
    for case in dict.fromkeys(record.case for record in records):
        found = {record.contestant: record for record in records if record.case == case}
        row = [case.network, str(case.batch), str(len(case.layers) or "all"), METHODS[case.method]]
        row.append(f"{found[OURS].seconds:.4g}" if OURS in found else "-")
        row += [_ratios(OURS[0], found, base) for base in (PLAIN_FLOOR, OUR_FLOOR)]
        rows.append(row + [_ratios(peer, found, OURS) for peer in peers])
    return markdown(head + [f"{peer}, x camtools" for peer in peers], rows)


def _ratios(library: str, found: dict[Contestant, Record], base: Contestant) -> str:
    """The ratio of each setting of a library to another contestant."""
    texts = [
        f"{setting} {'fails' if record.failure else _ratio(record, found.get(base))}"
        for (name, setting), record in found.items()
        if name == library
    ]
    return ", ".join(texts) or "-"


def _ratio(record: Record, base: Record | None) -> str:
    return "-" if base is None or not base.times or not record.times else f"{record.seconds / base.seconds:.2f}"


def _mib(record: Record) -> str:
    return "-" if record.peak_mib is None else f"{record.peak_mib:.0f}"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(map(table_row, [head, ["---"] * len(head), *rows]))


def table_row(cells: Sequence[str]) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"
