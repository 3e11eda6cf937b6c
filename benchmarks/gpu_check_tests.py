"""Check of ``gpu_check.py``: the tests that need a CUDA device. Pytest loads this module as a plugin."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from typing import Any

from gpu_check_machine import REPOSITORY, Machine, run
from gpu_check_table import Row, failed, measured, skipped

REASON = "needs a CUDA device"  # of the tests' skipif marks
INTERPRETED = "test_triton_kernel_interpreted"  # what a CPU can run of them


def cuda_test_rows(machine: Machine) -> Iterator[Row]:
    """Passed tests, and a row for every one that failed or was skipped."""
    files = [path for path in (REPOSITORY / "tests").rglob("test_*.py") if REASON in path.read_text()]
    names = sorted(str(path.relative_to(REPOSITORY)) for path in files)
    report = machine.folder / "tests.xml"
    arguments = ["-m", "pytest", "-p", "gpu_check_tests", "-p", "no:cacheprovider", f"--junitxml={report}"]
    done = run([*arguments, *names], machine, "tests.log")
    if done.code != 0:
        yield failed("CUDA tests", done.complaint)
    if not report.is_file():
        return
    cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    by_result = {tag: [case for case in cases if case.find(tag) is not None] for tag in ("failure", "error", "skipped")}
    bad = by_result["failure"] + by_result["error"]
    for case in bad:
        yield failed(f"test {case.get('name')}", f"{case.get('classname')}, see tests.log")
    without = by_result["skipped"]
    for reason, count in Counter(case.find("skipped").get("message") for case in without).items():  # type: ignore[union-attr]
        unable = failed if machine.full and reason == REASON else skipped
        yield unable(f"{count} of {len(cases)} CUDA tests", str(reason))
    passed = len(cases) - len(bad) - len(without)
    if passed:
        yield measured("CUDA tests and Triton's interpreter: passed", passed, "tests", f"{done.seconds:.0f} s")


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Keep the tests that are skipped without a CUDA device, and the one of Triton's interpreter."""
    kept = [item for item in items if needs_cuda(item)]
    dropped = [item for item in items if not needs_cuda(item)]
    config.hook.pytest_deselected(items=dropped)
    items[:] = kept


def needs_cuda(item: Any) -> bool:
    """Whether a test has the mark of a CUDA test or is its stand-in."""
    reasons = [mark.kwargs.get("reason") for mark in item.iter_markers("skipif")]
    return REASON in reasons or item.name.startswith(INTERPRETED)
