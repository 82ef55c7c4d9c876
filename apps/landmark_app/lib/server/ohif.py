"""OHIF as MONAI Label's wheel brings it, under `/ohif/`."""

from __future__ import annotations

import mimetypes
from pathlib import Path

import monailabel.endpoints
from fastapi import APIRouter, Depends
from starlette.responses import FileResponse, RedirectResponse, Response

from ..core.errors import ClientError
from .auth import Role, needs


def ohif_router() -> APIRouter:
    """The files of the viewer; an address without a file is a page of it, which its index.html draws."""
    router = APIRouter(dependencies=[Depends(needs(Role.ANNOTATE))])
    folder = (Path(monailabel.endpoints.__file__).parent / "static" / "ohif").resolve()
    index = folder / "index.html"
    # The list of known files decides, so no path of a request is ever joined to a folder.
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    types = mimetypes.MimeTypes()
    types.add_type("application/wasm", ".wasm")

    @router.get("/ohif", include_in_schema=False)
    def root() -> Response:
        return RedirectResponse("/ohif/")

    @router.get("/ohif/{path:path}", include_in_schema=False)
    def file(path: str) -> Response:
        found = files.get(path, index)
        if not found.is_file():
            raise ClientError("this installation of MONAI Label has no OHIF", 404)
        return FileResponse(found, media_type=types.guess_type(found.name)[0] or "application/octet-stream")

    return router
