"""What only a GPU can show, in one command and one table: results against the CPU, half precision, times, memory.

    make gpu-check                                     # under 8 minutes on one H100-class GPU; no internet needed
    python benchmarks/gpu_check.py --device cpu        # a trial of the script itself, at reduced sizes
    python benchmarks/gpu_check.py --only geodesic crf

Every check runs in a process of its own, with a time budget, so that one that fails, hangs or breaks the CUDA context
is a row of the table and the rest goes on. The table (``gpu_check.md`` and ``gpu_check.json`` in ``--output-dir``) is
written after every row. The exit code is 1 if a row failed. All data are phantoms and synthetic slices.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from gpu_check_table import Row, Table, failed, skipped

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Check:
    """A check: a function of a module, which yields rows.

    Attributes:
        module: imported by the process of the check only.
        function: takes the machine and the arguments.
        seconds: budget on a GPU.
        arguments: of the function.
    """

    module: str
    function: str
    seconds: float
    arguments: tuple[str, ...] = ()


CHECKS = {  # the ones that come last are the first to be left out when the time is over
    "tests": Check("gpu_check_tests", "cuda_test_rows", 90),
    "geodesic": Check("gpu_check_kernels", "geodesic_rows", 40),
    "crf": Check("gpu_check_kernels", "crf_rows", 40),
    "steps": Check("gpu_check_networks", "step_rows", 60),
    "maps": Check("gpu_check_networks", "map_rows", 40),
    "cfdcam": Check("gpu_check_networks", "cfdcam_rows", 60),
    "loader": Check("gpu_check_loader", "loader_rows", 60),
    "umcam.paper": Check("gpu_check_bundles", "paper_rows", 90, ("umcam",)),
    "cfdcam.paper": Check("gpu_check_bundles", "paper_rows", 90, ("cfdcam",)),
    "ltgradcam.paper": Check("gpu_check_bundles", "paper_rows", 90, ("ltgradcam",)),
    "oeem.paper": Check("gpu_check_bundles", "paper_rows", 120, ("oeem",)),
    "ranks": Check("gpu_check_bundles", "rank_rows", 60),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks and print the table; returns the exit code."""
    options = parse(arguments)
    if options.child:
        return run_check(options)
    options.output_dir = options.output_dir.absolute()
    table = Table(options.output_dir, describe(options.device))
    end = time.monotonic() + 60 * options.minutes
    for name in options.only or CHECKS:
        left = end - time.monotonic()
        if left < 1:
            table.add(replace(skipped("all of it", f"{options.minutes:g} minutes were over"), check=name))
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        for row in rows_of(name, options, min(left, budget(name, options.device))):
            table.add(replace(row, check=name))
            print(f"  {row.result:<8}{row.what} {row.reason}", file=sys.stderr, flush=True)
    table.save()
    print(table.markdown())
    return 0 if table.passed else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a trial at reduced sizes")
    parser.add_argument("--only", nargs="+", choices=CHECKS, metavar="CHECK", help=", ".join(CHECKS))
    parser.add_argument("--minutes", type=float, help="for all checks; default: 7.5 on a GPU, 30 on a CPU")
    parser.add_argument("--output-dir", type=Path, default=HERE.parent / "runs/gpu-check")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.minutes = options.minutes or {"cuda": 7.5, "cpu": 30}[options.device]
    if options.device == "cuda" and not options.child:
        import torch

        if not torch.cuda.is_available():
            parser.error("Expected a CUDA device, found none. Add --device cpu to try the script at reduced sizes.")
    return options


def budget(name: str, device: str) -> float:
    """Seconds of a check. A CPU gets three times as many: most of them go into imports."""
    return CHECKS[name].seconds * (3 if device == "cpu" else 1)


def describe(device: str) -> dict[str, str]:
    """Head of the table: what the rows were measured on."""
    import torch

    header = {"GPU": "none: run on the CPU at reduced sizes", "driver": "none"}
    if device == "cuda":
        driver = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        header = {"GPU": torch.cuda.get_device_name(0), "driver": first_line(driver)}
    return header | {
        "torch": torch.__version__,
        "CUDA of torch": str(torch.version.cuda),
        "processor": processor(),
        "cores": f"{len(os.sched_getaffinity(0))}, threads of torch: {torch.get_num_threads()}",
        "date": datetime.now().isoformat(" ", "minutes"),
    }


def processor() -> str:
    """Name of the CPU."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def first_line(command: list[str]) -> str:
    """First line that a command prints; "unknown" where it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return (done.stdout.splitlines() or ["unknown"])[0]


def rows_of(name: str, options: argparse.Namespace, seconds: float) -> Iterator[Row]:
    """Rows of a check, as they come from its process."""
    folder = options.output_dir / name
    folder.mkdir(parents=True, exist_ok=True)
    check = CHECKS[name]
    command = [sys.executable, str(HERE / "gpu_check.py"), "--device", options.device, "--output-dir", str(folder)]
    command += ["--seconds", str(seconds), "--child", check.module, check.function, *check.arguments]
    with (folder / "errors.log").open("wb") as errors:
        process = subprocess.Popen(
            command, env=environment(options), stdout=subprocess.PIPE, stderr=errors, start_new_session=True
        )
    end = time.monotonic() + seconds
    timer = threading.Timer(seconds, stop, [process])
    timer.start()
    try:
        for line in process.stdout or ():
            yield Row(**json.loads(line))
        code = process.wait()
    finally:
        timer.cancel()
        stop(process)
    if code != 0 and time.monotonic() >= end:
        yield failed("the rest of it", f"stopped after {seconds:.0f} s")
    elif code != 0:
        errors_end = (folder / "errors.log").read_text(errors="replace")[-400:]
        yield failed("the rest of it", f"exit status {code}: ... {errors_end}")


def environment(options: argparse.Namespace) -> dict[str, str]:
    """Variables of the process of a check: this checkout, own phantoms; on a CPU no GPU and Triton's interpreter."""
    places = [str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(place for place in places if place)}
    variables["CAMTOOLS_CACHE"] = str(options.output_dir / "phantoms")
    if options.device == "cpu":
        variables |= {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    return variables


def stop(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a check and of the commands that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def run_check(options: argparse.Namespace) -> int:
    """The process of one check: print a line of JSON for every row."""
    import torch
    from gpu_check_machine import Machine

    rows = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what the libraries print is no row
    device = torch.device("cuda:0" if options.device == "cuda" else "cpu")
    machine = Machine(device, options.output_dir, time.monotonic() + options.seconds)
    module, name, *arguments = options.child
    try:
        for row in getattr(importlib.import_module(module), name)(machine, *arguments):
            print(json.dumps(asdict(row)), file=rows, flush=True)
    except Exception as error:
        row = failed("the rest of it", f"{type(error).__name__}: {str(error)[-400:]}")
        print(json.dumps(asdict(row)), file=rows, flush=True)
        traceback.print_exc()  # to errors.log
    return 0


if __name__ == "__main__":
    sys.exit(main())
