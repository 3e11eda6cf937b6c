"""The command ``camtools label``: a MONAI Label server with the trained bundles."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from camtools.cli.common import overrides, plain_errors

__all__ = ["label"]


def label(
    context: typer.Context,
    studies: Annotated[str, typer.Option(help="Folder of the volumes, or address of a DICOMweb server.")],
    models: Annotated[str | None, typer.Option(help="Bundles, separated by commas; default: all trained ones.")] = None,
    bundles: Annotated[Path, typer.Option(help="Folder that holds the bundles.")] = Path("bundles"),
    app: Annotated[Path, typer.Option(help="Folder of the server's own, trainable copies.")] = Path("runs/label"),
    host: Annotated[str, typer.Option(help="Address to listen on; the server asks for no password.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(help="Address of a viewer that is served elsewhere, such as http://localhost:3000; repeatable."),
    ] = None,
    modality: Annotated[str, typer.Option(help="Modality of the series of a DICOMweb server.")] = "MR",
) -> None:
    """Serve trained bundles to 3D Slicer or OHIF through MONAI Label, until Ctrl-C.

    What follows as ``--id value`` sets knobs of the bundles, such as the ``--pixel_size`` they were trained with.
    """
    from camtools.label import prepare_app, trained_bundles
    from camtools.label.places import web_origin

    with plain_errors():
        chosen = trained_bundles(bundles, models.split(",") if models else None)
        if not studies.startswith(("http://", "https://")) and not Path(studies).is_dir():
            raise FileNotFoundError(f"Expected a folder of volumes, found none at {studies}. Check --studies.")
        origins = " ".join(web_origin(address) for address in allow_origin or [])
        os.environ.setdefault("MONAI_LABEL_DICOMWEB_SEARCH_FILTER", json.dumps({"Modality": modality}))
        try:
            from monailabel.main import Main
        except ImportError:
            raise ImportError("camtools label needs MONAI Label: pip install 'camtools[label]'.") from None
        _check_port(host, port)
        folder = prepare_app(chosen, app, overrides(context.args))
        names = ",".join(bundle.name for bundle in chosen)
        typer.echo(f"Serving {names} at http://{host}:{port} from {folder}; Ctrl-C stops.")
        sys.argv = ["monailabel", "start_server", "--app", str(folder), "--studies", studies]
        sys.argv += ["--host", host, "--port", str(port), "--conf", "models", names]
        sys.argv += ["--conf", "host", host, "--conf", "allow_origins", origins]
        sys.argv += ["--uvicorn_app", "camtools.label.server:app"]
        Main().run()


def _check_port(host: str, port: int) -> None:
    """Stop before the bundles are loaded if the server cannot listen on the port."""
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        raise OSError(
            f"Expected a free port, found {host}:{port} in use or not available ({error}). Choose another --port."
        ) from None
