"""The shape of the code base: imports in one direction, short files, short functions."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import camtools

PACKAGE = Path(camtools.__file__).parent
TESTS = Path(__file__).parent
# about the repository or about no single module
EXCEPTIONS = {
    "networks/test_class_maps.py",
    "test_architecture.py",
    "test_contributing.py",
    "test_docs.py",
    "test_gpu_check.py",
}
# files still to be renamed after the module that they test
NOT_YET = {
    "data/test_fuzz_files.py",
    "label/test_label.py",
    "report/test_browser.py",
    "report/test_pictures.py",
    "report/test_views.py",
}
MODULES = sorted(PACKAGE.rglob("*.py"))
GROUPS = [
    {"cams", "fusion", "thresholds", "seeds", "geodesic", "crf", "losses", "networks", "metrics"}
    | {"augment", "patches", "precision", "process"},
    {"data", "transforms"},
    {"engine"},
    {"scores"},
    {"tuning"},
    {"report", "label", "tag"},
    {"sharing"},
    {"cli"},
]


def part(name: str) -> str:
    """First level below the package: camtools.data.files -> data."""
    return name.split(".")[1] if "." in name else ""


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import; write the whole name"
            yield str(node.module)


def group(name: str) -> int:
    return next(index for index, names in enumerate(GROUPS) if name in names)


def first_level(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_imports_go_one_way() -> None:
    for path in MODULES:
        own = first_level(path)
        targets = [part(name) for name in imported(path) if name.startswith("camtools.")]
        if own == "__init__":
            assert not targets
            continue
        later = [name for name in targets if group(name) > group(own)]
        assert not later, f"{path} must not import from {later}"
        assert own != "data" or "transforms" not in targets, f"{path} must not import from transforms"


def test_first_group_is_pure() -> None:
    for path in MODULES:
        if first_level(path) in GROUPS[0]:
            engines = [name for name in imported(path) if name.startswith(("monai.engines", "monai.bundle", "ignite"))]
            assert not engines, f"{path} must not import {engines}"


def test_files_and_functions_are_short() -> None:
    for path in MODULES:
        text = path.read_text()
        assert text.count("\n") < 300, f"{path} has 300 lines or more"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                docstring = ast.get_docstring(node, clean=False) or ""
                length = node.end_lineno - node.lineno + 1 - len(docstring.splitlines())  # type: ignore[operator]
                assert length <= 40, f"{path}: {node.name} has {length} lines"


def test_every_module_is_tested() -> None:
    tests = "\n".join(path.read_text() for path in TESTS.rglob("*.py"))
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES} - {"__init__"}
    assert not [name for name in parts if f"camtools.{name}" not in tests]


def has_module(test: Path) -> bool:
    """Whether ``tests/a/test_b.py`` has a module ``camtools/a/b.py`` or a package ``camtools/a/b/``."""
    module = PACKAGE / test.parent.relative_to(TESTS) / test.stem.removeprefix("test_")
    return module.with_suffix(".py").is_file() or module.is_dir()


def test_every_test_file_is_named_after_its_module() -> None:
    """Tests of the bundles are named after what a user does with a bundle."""
    files = [path for path in TESTS.rglob("test_*.py") if path.parent.name != "bundles"]
    without = {path.relative_to(TESTS).as_posix() for path in files if not has_module(path)}
    assert without - EXCEPTIONS - NOT_YET == set(), "name each file after the module it tests, at the same place"


def test_no_test_polls_inside_a_page() -> None:
    """Polling there is eval, which our pages forbid: it fails where the first look is too early."""
    found = [path for path in TESTS.rglob("*.py") if ".wait_for_function(" in path.read_text()]
    assert found == [TESTS / "test_architecture.py"], "use wait_until of tests/browsers.py"


def test_import_camtools_gives_every_part() -> None:
    code = "import sys, camtools; print('torch' in sys.modules, *dir(camtools))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    parts = {first_level(path) for path in MODULES} - {"__init__"}
    assert found[0] == "False"
    assert parts <= set(found[1:])
