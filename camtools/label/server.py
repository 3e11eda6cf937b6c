"""The web application that ``camtools label`` starts: MONAI Label's behind :class:`camtools.label.guard.Guard`."""

from __future__ import annotations

import logging
import tarfile
from typing import TYPE_CHECKING

from monailabel.config import settings
from monailabel.interfaces.exception import MONAILabelError, MONAILabelException
from starlette.responses import JSONResponse

from camtools.data.errors import DataError, reason
from camtools.label.guard import Guard
from camtools.label.places import Places, web_origin
from camtools.label.requests import RequestError

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["app", "guarded_app"]

logger = logging.getLogger("camtools")


def guarded_app() -> Guard:
    """MONAI Label's application; it answers its own pages, programs, and the viewers of ``--allow-origin``.

    Host and further origins are read from the settings of MONAI Label that ``camtools label`` wrote.
    """
    conf = settings.MONAI_LABEL_APP_CONF
    more = [*conf.get("allow_origins", "").split(), *map(str, settings.MONAI_LABEL_CORS_ORIGINS)]
    places = Places(
        host=conf.get("host", "127.0.0.1"),
        port=settings.MONAI_LABEL_SERVER_PORT,
        allowed=tuple(web_origin(address) for address in more),
    )
    # read when monailabel.app is imported, and "*" when empty
    settings.MONAI_LABEL_CORS_ORIGINS = sorted(places.origins())
    # shutil.unpack_archive unpacks uploads with this filter: no file outside its folder
    tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)  # type: ignore[assignment]

    from monailabel.app import app as monai_label

    for kind in (RequestError, DataError, RuntimeError, MONAILabelException):
        monai_label.add_exception_handler(kind, _tell)
    return Guard(monai_label, places, settings.MONAI_LABEL_API_STR)


async def _tell(request: Request, error: Exception) -> JSONResponse:
    """The error message, with file and advice, as ``detail`` of the answer."""
    message, status = reason(error), 500
    if isinstance(error, RequestError):
        message, status = str(error), 400
    if isinstance(error, MONAILabelException):
        message, status = error.msg, 400 if error.error == MONAILabelError.INVALID_INPUT else 404
    logger.error("%s %s: %s", request.method, request.url.path, message)
    return JSONResponse({"detail": message}, status)


app = guarded_app()
