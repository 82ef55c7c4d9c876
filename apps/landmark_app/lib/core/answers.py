"""Every failure is `{"error": one line}` with the right status, and nothing of the server's inside gets out."""

from __future__ import annotations

import errno
import logging
import math
import secrets
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from monailabel.interfaces.exception import (
    ImageNotFoundException,
    LabelNotFoundException,
    MONAILabelException,
)
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

logger = logging.getLogger(__name__)
# Also a quota, and a limit of the process on the size of a file.
_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


def error_response(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer for a failure."""
    return JSONResponse({"error": as_text(message)}, status_code=status, headers=dict(headers or {}))


def as_text(value: str) -> str:
    """The text with a question mark for each surrogate, which no answer could hold."""
    return value.encode("utf-8", "replace").decode()


def jsonable(value: Any) -> Any:
    """The value as JSON can hold it: NaN and infinities, for which it has no word, as None; text without surrogates."""
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, Mapping):
        return {as_text(str(key)): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    reference = secrets.token_hex(4)
    logger.error("failure %s: %s %s", reference, request.method, request.url.path, exc_info=error)
    return error_response(500, f"the server failed; its log says why under {reference}")


def _known(request: Request, error: Exception) -> JSONResponse:
    # By attribute and not by class: MONAI Label imports the app's `lib` a second time, under another name.
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return error_response(status, str(error), {"Retry-After": "5"} if status == 429 else None)
    if isinstance(error, ImageNotFoundException):
        return error_response(404, "there is no such image in the data store")
    if isinstance(error, LabelNotFoundException):
        return error_response(404, "there is no such label in the data store")
    return _unexpected(request, error)


def _gone(_request: Request, _error: Exception) -> JSONResponse:
    # Nobody reads it.
    return error_response(499, "the client is gone")


def _system(request: Request, error: OSError) -> JSONResponse:
    if error.errno in _FULL:
        logger.error("the disk is full: %s %s: %s", request.method, request.url.path, error)
        return error_response(507, "the disk of the server is full; nothing was changed; ask its operator for space")
    if error.errno == errno.ENAMETOOLONG:
        return error_response(400, "a name is longer than this server's file system takes")
    return _unexpected(request, error)


def _http(_request: Request, error: HTTPException) -> JSONResponse:
    return error_response(error.status_code, str(error.detail), error.headers)


def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    # The position in a broken JSON body is a number among the names.
    where = ".".join(str(part) for part in first.get("loc", ())[1:]) or "body"
    return error_response(422, f"{where}: {first.get('msg', 'not valid')}")


def answer_failures(app: FastAPI) -> None:
    """Register the handlers of all exceptions."""
    app.add_exception_handler(HTTPException, _http)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _invalid)  # type: ignore[arg-type]
    app.add_exception_handler(MONAILabelException, _known)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(OSError, _system)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, _unexpected)
