"""A real MONAI Label server over tiny bundles, started as a user starts it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import monai.bundle
import torch
import yaml

from tests.bundles.conftest import Bundle

COMMAND = "from camtools.cli import app; app()"


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        client: MONAI Label's own client.
        process: of the server.
        folder: with ``bundles/``, ``app/``, ``studies/`` and ``server.log``.
    """

    client: Any
    process: subprocess.Popen[bytes]
    folder: Path

    def train(self, model: str, **options: Any) -> dict[str, Any]:
        """Train to the end; returns the state of the task."""
        self.client.train_start(model, {"device": "cpu", **options})
        deadline = time.monotonic() + 240
        while (status := self.client.train_status())["status"] in ("SUBMITTED", "RUNNING"):
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.2)
        return status

    def log(self) -> str:
        return (self.folder / "server.log").read_text()[-5000:]


def copy_bundle(bundle: Bundle, models: Path, target: Path) -> Path:
    """The bundle's folder with tiny knobs written into its configurations, and trained weights."""
    shutil.copytree(bundle.configs.parent, target, ignore=shutil.ignore_patterns("models", "output"))
    shutil.copytree(models, target / "models")
    for path in (target / "configs" / name for name in ("train.yaml", "inference.yaml")):
        config = monai.bundle.ConfigParser.load_config_file(path)
        knobs = bundle.tiny | {"gate": False}  # a tiny classifier would empty every slice
        path.write_text(yaml.safe_dump(config | {key: knobs[key] for key in knobs if key in config}, sort_keys=False))
    return target


def make_bright(bundle: Path) -> None:
    """Replace the network by one that marks what is bright: a mask that is known beforehand."""
    path = bundle / "configs/inference.yaml"
    config = yaml.safe_load(path.read_text())
    config["network_def"] = {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 2, "kernel_size": 1}
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    weights = {"weight": torch.tensor([-1.0, 1.0]).reshape(2, 1, 1, 1), "bias": torch.tensor([0.25, -0.25])}
    torch.save(weights, bundle / "models/model.pt")


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """Start ``camtools label`` on a free port, wait until it answers, and stop it by its process id."""
    from monailabel.client import MONAILabelClient

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    arguments = ["--studies", "studies", "--bundles", "bundles", "--app", "app", "--port", port]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, "label", *arguments], cwd=folder, stdout=log, stderr=log
        )
    server = Server(MONAILabelClient(f"http://127.0.0.1:{port}", str(folder / "answers")), process, folder)
    (folder / "answers").mkdir()
    try:
        _wait(server)
        yield server
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait(server: Server) -> None:
    deadline = time.monotonic() + 180
    while True:
        try:
            server.client.info()
            return
        except OSError:
            assert server.process.poll() is None, server.log()
            assert time.monotonic() < deadline, server.log()
            time.sleep(0.3)
