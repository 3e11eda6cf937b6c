"""Activation maps of camtools, pytorch-grad-cam, torch-cam and MONAI, side by side in one run.

The peers are installed by a dependency group of their own::

    uv run --group bench python benchmarks/cams.py --quick          # a first look
    uv run --group bench python benchmarks/cams.py --memory --json cams.json
    uv run --group bench python benchmarks/cams.py --agreement      # equal maps, or the reason why not

Networks have random weights, images have 256 x 256 pixels, and every image its own class to explain. Contestants are
called in turn, so that a drift of the machine hits all alike. What the columns mean: docs/maps_against_peers.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from cams_agreement import print_agreement
from cams_memory import peak_mib
from cams_ours import LIBRARIES, OURS, Contestant, contestants, ready
from cams_peers import SETTINGS
from cams_tables import Record, case_table, layers_text, machine, summary_table
from cams_tasks import LAYERS, METHODS, SLOW, Case, Run
from timing import interleaved_seconds, seconds

from camtools.process import reuse_memory

FAILURES = (RuntimeError, TypeError, ValueError, AttributeError)  # a peer may fail, and the row says how


def cases(options: argparse.Namespace) -> list[list[Case]]:
    """Cases in groups that share network, batch and layers: one table each."""
    groups = []
    for network in options.networks:
        names = LAYERS[network]
        for batch in options.batch:
            for count in options.layers:
                common = {"size": options.size, "dtype": options.dtype, "device": options.device}
                group = []
                for method in options.methods:
                    layers = () if method == "fullgrad" else names[-count:]
                    if method in SLOW:
                        layers = (names[options.slow_layer - 1],)
                    if not _repeated(method, batch, count, options):
                        group.append(Case(network, method, batch, layers, **common))
                groups.append(group)
    return [group for group in groups if group]


def _repeated(method: str, batch: int, count: int, options: argparse.Namespace) -> bool:
    """Whether a method without layers, or one that is only run small, has had its turn with another number."""
    first_count, first_batch = count == min(options.layers), batch == min(options.batch)
    if method in SLOW:
        return not (first_count and first_batch)
    return method == "fullgrad" and not first_count


def measure(case: Case, options: argparse.Namespace) -> list[Record]:
    """Times and, where asked for, peak memory of every contestant of a case."""
    runs: dict[Contestant, Run] = {}
    repeats: dict[Contestant, int] = {}
    records: dict[Contestant, Record] = {}
    device = torch.device(case.device)
    for contestant in contestants(case, set(options.libraries), set(options.settings)):
        say(f"{case.network} {case.method} batch {case.batch}, {layers_text(case)}: {' '.join(contestant)}")
        records[contestant] = Record(case, contestant, [])
        try:
            runs[contestant] = ready(case, contestant)
            warm_up = seconds(runs[contestant], device)
        except FAILURES as error:
            if contestant[0] == OURS[0]:
                raise
            runs.pop(contestant, None)
            records[contestant].failure = (str(error).splitlines() or [type(error).__name__])[0]
            continue
        compiled = "compiled" in contestant[1]  # its first call compiles
        repeats[contestant] = options.repeats if warm_up < options.long or compiled else 1
    for contestant, times in interleaved_seconds(runs, device, repeats).items():
        records[contestant].times = times
    runs.clear()
    for contestant in repeats if options.memory else ():
        if "compiled" not in contestant[1]:
            memory = peak_mib(case, contestant, options.threads, options.reuse_memory)
            records[contestant].peak_mib = memory
    return list(records.values())


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [library.name for library in LIBRARIES]
    parser.add_argument("--agreement", action="store_true", help="compare the maps instead of the times")
    parser.add_argument("--quick", action="store_true", help="ResNet-18, batch 1, one call; 64 channels for the slow")
    parser.add_argument("--memory", action="store_true", help="peak memory too, each in a process of its own")
    parser.add_argument("--networks", nargs="+", choices=LAYERS, default=list(LAYERS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--libraries", nargs="+", choices=names, default=names)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--layers", type=int, nargs="+", choices=range(1, 6), default=[1, 5], help="the deepest N")
    parser.add_argument(
        "--slow-layer", type=int, choices=range(1, 6), default=5, help="1 is the narrowest, for Score- and Ablation-CAM"
    )
    parser.add_argument("--size", type=int, default=256, help="side of an image in pixels")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float64"), default="float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3, help="timed calls after one to warm up")
    parser.add_argument("--long", type=float, default=30, help="call only once what takes more than so many seconds")
    parser.add_argument(
        "--reuse-memory", action="store_true", help="camtools.process.reuse_memory(), for every library"
    )
    parser.add_argument("--json", type=Path, help="write every single time to this file")
    options = parser.parse_args()
    if options.quick:
        options.networks, options.batch, options.repeats, options.slow_layer = ["resnet18"], [1], 1, 1
    return options


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    if options.reuse_memory:
        reuse_memory()
    if options.agreement:
        print_agreement(options)
        return
    about = machine(options.threads, options.reuse_memory)
    print(", ".join(f"{key}: {value}" for key, value in about.items()))
    records: list[Record] = []
    for group in cases(options):
        found = [record for case in group for record in measure(case, options)]
        records += found
        print(f"\n### {group[0].network}, batch {group[0].batch}, {layers_text(group[0])}\n")
        print(case_table(found, options.memory), flush=True)
        if options.json:
            options.json.write_text(json.dumps({"machine": about, "records": [r.as_dict() for r in records]}, indent=1))
    print(f"\n### Summary\n\n{summary_table(records)}\n\nSettings:\n")
    print("\n".join(f"- {name}: {text}" for name, text in SETTINGS.items()))


if __name__ == "__main__":
    main()
