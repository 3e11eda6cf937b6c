"""The documentation: its examples run, its links and pictures exist, its commands name options that exist."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from camtools.cams import GradCAM
from camtools.networks import VGG16CAM
from camtools.scores.map_methods import CAM_METHODS

REPOSITORY = Path(__file__).parents[1]
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("bundles/*/docs/*.md")])
OWN_METHOD = REPOSITORY / "docs/how_to_own_cam_method.md"


def anchors(page: Path) -> set[str]:
    """Headings as GitHub and MyST name them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        name, _, anchor = target.partition("#")
        other = page.parent / name if name else page
        assert other.is_file(), target
        assert not anchor or anchor in anchors(other), target


def test_index_names_every_page() -> None:
    index = REPOSITORY / "docs/index.md"
    linked = {index.parent / name for name in re.findall(r"\]\(([\w/]+\.md)\)", index.read_text())}
    assert linked == {page for page in PAGES if REPOSITORY / "docs" in page.parents} - {index}


def test_pictures_are_small() -> None:
    pictures = list((REPOSITORY / "docs/img").iterdir())
    assert pictures
    assert [path.name for path in pictures if path.stat().st_size > 300_000] == []


@pytest.fixture
def own_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``my_cam.py`` of the page, where Python finds it."""
    (code,) = re.findall(r"^```python\n(.*?)^```", OWN_METHOD.read_text(), re.DOTALL | re.MULTILINE)
    (tmp_path / "my_cam.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(CAM_METHODS, "positive", None)  # undone after the test
    return tmp_path / "my_cam.py"


def test_own_cam_method_runs(own_method: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(own_method.read_text().splitlines()) <= 30
    torch.manual_seed(0)
    names = runpy.run_path(str(own_method), run_name="__main__")
    assert capsys.readouterr().out.splitlines() == ["torch.Size([8, 5, 64, 64])", "torch.Size([8, 1, 64, 64])"]
    model, images = VGG16CAM(width=0.0625).eval(), torch.rand(2, 1, 32, 32)
    maps = CAM_METHODS["positive"](model, batch_size=1)(images, target=1)
    expected = names["PositiveGradCAM"](model, model.cam_layers)(images, target=1)
    torch.testing.assert_close(maps, expected)
    assert not torch.allclose(maps, GradCAM(model, model.cam_layers)(images, target=1))


def test_own_cam_method_in_a_bundle(own_method: Path) -> None:
    (key, name) = re.search(r"--(\S+) (my_cam\.\w+)", OWN_METHOD.read_text()).groups()
    parser = ConfigParser()
    parser.read_config(str(REPOSITORY / "bundles/umcam/configs/train.yaml"))
    parser.update({key: name, "device": "cpu"})
    cam = parser.get_parsed_content("pseudo_labels#cam")
    assert type(cam).__module__ == "my_cam"
    assert cam(torch.rand(1, 1, 32, 32), target=1).shape == (1, 5, 32, 32)
