"""The way to the PACS for OHIF: `/proxy/dicom/...` reaches DICOMweb resources and nothing else.

A PACS often has its whole administration beside DICOMweb, as Orthanc has. So the address is not cleaned but matched:
after decoding it must be one of the resources of DICOM PS3.18, letter by letter, and it is put together anew.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import IO
from urllib.parse import urlsplit

import anyio
import google.auth
import google.auth.transport.requests
import requests
from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from monailabel.config import settings
from starlette.responses import Response, StreamingResponse

from ..core.errors import ClientError
from .auth import Role, needs

_UID = r"[0-9.]{1,64}"
_STUDY = rf"studies/{_UID}"
_SERIES = rf"{_STUDY}/series/{_UID}"
_INSTANCE = rf"{_SERIES}/instances/{_UID}"
_RENDERED = r"rendered|thumbnail"
_QIDO = re.compile(rf"studies|series|instances|{_STUDY}/(series|instances)|{_SERIES}/instances")
_METADATA = re.compile(rf"({_STUDY}|{_SERIES}|{_INSTANCE})/metadata")
_WADO = re.compile(
    rf"({_STUDY}|{_SERIES})(/({_RENDERED}|metadata))?"
    rf"|{_INSTANCE}(/({_RENDERED}|metadata|pixeldata|frames/[0-9]+(,[0-9]+)*(/({_RENDERED}))?"
    r"|bulk(data)?(/[A-Za-z0-9_]+)+))?"
)
_STOW = re.compile(rf"studies(/{_UID})?")
_QUERY_NAME = re.compile(r"[A-Za-z0-9]{1,64}([.,][A-Za-z0-9]{1,64}){0,8}")
_PASSED_ON = ("content-type", "content-encoding", "content-length", "etag", "last-modified")
# What DICOMweb answers with (PS3.18), as far as viewers ask for it. No page, no script, no drawing that may hold one.
_TYPES = frozenset(
    ("application/dicom", "application/dicom+json", "application/json", "application/octet-stream", "multipart/related")
)
_PICTURES = re.compile(r"(image|video)/(jpeg|png|gif|webp|jp2|jpx|jls|jphc|jxl|dicom-rle|x-jls|x-dicom-rle|mpeg|mp4)")
CHUNK = 2**18
THREADS = 24


@dataclass(frozen=True)
class Pacs:
    """Where DICOMweb is. A prefix is a part of the path between the root and the resource, or empty."""

    root: str
    qido: str = ""
    wado: str = ""
    stow: str = ""

    def url(self, service: str, path: str, method: str) -> str:
        """The address of a resource.

        Args:
            service: `qido`, `wado` or `stow`.
            path: the resource, decoded once.
            method: GET or POST.

        Raises:
            ClientError: this is no DICOMweb resource of the service, or not for this method.
        """
        prefix = {"qido": self.qido, "wado": self.wado, "stow": self.stow}[service]
        allowed = {"qido": _QIDO, "wado": _WADO, "stow": _STOW}[service]
        # OHIF asks for metadata under the address of searches.
        if service == "qido" and _METADATA.fullmatch(path):
            prefix, allowed = self.wado, _METADATA
        # A segment of dots alone is a UID by its letters, and a way up by its meaning.
        if not allowed.fullmatch(path) or any(not part.strip(".") for part in path.split("/")):
            raise ClientError("this is no DICOMweb resource of the proxy", 404)
        if (service == "stow") != (method == "POST"):
            raise ClientError(f"{method} is not allowed here", 405)
        return "/".join(part.strip("/") for part in (self.root, prefix, path) if part)


def _login(root: str) -> tuple[dict[str, str], tuple[str, str] | None]:
    """Header and user of this server at the PACS; nothing that a client sends takes their place."""
    if (urlsplit(root).hostname or "").endswith(".googleapis.com"):
        account, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
        account.refresh(google.auth.transport.requests.Request())
        return {"Authorization": f"Bearer {account.token}"}, None
    user, password = settings.MONAI_LABEL_DICOMWEB_USERNAME, settings.MONAI_LABEL_DICOMWEB_PASSWORD
    return {}, (user, password) if user and password else None


def _is_data(content_type: str) -> bool:
    """Whether an answer of this type is one of DICOMweb that a browser takes for nothing else."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind in _TYPES or _PICTURES.fullmatch(kind) is not None


def _is_empty(reply: requests.Response) -> bool:
    return reply.status_code == 204 or reply.headers.get("content-length") == "0"


def _no_data(status: int) -> ClientError:
    """The error for an answer of another type, such as the page with which most servers say that something failed."""
    if status in {401, 403, 407}:
        return ClientError("the DICOMweb server does not let this server in", 502)
    if status >= 400:
        return ClientError(f"the DICOMweb server answers with the status {status}", status if status < 500 else 502)
    return ClientError("the DICOMweb server answers with a type that is not of DICOMweb", 502)


async def _forward(url: str, request: Request, body: IO[bytes] | None, threads: anyio.CapacityLimiter) -> Response:
    """Ask the PACS, and pass its answer on as it comes."""
    reply = await to_thread.run_sync(_asked, url, request, body, limiter=threads)

    async def parts() -> AsyncIterator[bytes]:
        chunks = reply.raw.stream(CHUNK, decode_content=False)
        try:
            while (chunk := await to_thread.run_sync(next, chunks, b"", limiter=threads)) != b"":
                yield chunk
        finally:
            reply.close()

    passed = {name: value for name, value in reply.headers.items() if name.lower() in _PASSED_ON}
    return StreamingResponse(parts(), status_code=reply.status_code, headers=passed)


def _asked(url: str, request: Request, body: IO[bytes] | None) -> requests.Response:
    """The answer of the PACS, not read yet. Blocks.

    Raises:
        ClientError: there is none, or none that is passed on.
    """
    headers, auth = _login(url)
    for name in ("accept", "content-type") if body else ("accept",):
        if name in request.headers:
            headers[name] = request.headers[name]
    query = [(name, value) for name, value in request.query_params.multi_items() if _QUERY_NAME.fullmatch(name)]
    timeout = (settings.MONAI_LABEL_DICOMWEB_READ_TIMEOUT, settings.MONAI_LABEL_DICOMWEB_PROXY_TIMEOUT)
    try:
        # No redirect is followed: it could lead anywhere.
        reply = requests.request(
            "POST" if body else "GET",
            url,
            params=query,
            headers=headers,
            auth=auth,
            data=body,
            stream=True,
            timeout=timeout,
            allow_redirects=False,
        )
    except requests.RequestException:
        raise ClientError("the DICOMweb server does not answer", 502) from None
    if 300 <= reply.status_code < 400:
        reply.close()
        raise ClientError("the DICOMweb server sends elsewhere, where the proxy does not go", 502)

    if not _is_data(reply.headers.get("content-type", "")) and not _is_empty(reply):
        reply.close()
        raise _no_data(reply.status_code)
    return reply


def proxy_router(studies: str) -> APIRouter:
    """The routes of the proxy.

    Args:
        studies: the server's studies; without a DICOMweb address among them, every route answers 404.
    """
    router = APIRouter(prefix="/proxy/dicom")
    # A PACS that does not answer holds threads, and those of the other routes are not for it.
    threads = anyio.CapacityLimiter(THREADS)
    pacs = (
        Pacs(
            studies.rstrip("/"),
            settings.MONAI_LABEL_QIDO_PREFIX or "",
            settings.MONAI_LABEL_WADO_PREFIX or "",
            settings.MONAI_LABEL_STOW_PREFIX or "",
        )
        if studies.startswith(("http://", "https://"))
        else None
    )

    @router.api_route(
        "/{service}/{path:path}",
        methods=["GET", "POST"],
        dependencies=[Depends(needs(Role.ANNOTATE))],
        include_in_schema=False,
    )
    async def proxy(request: Request, service: str, path: str) -> Response:
        if pacs is None or service not in {"qido", "wado", "stow"}:
            raise ClientError("there is no such DICOMweb service here", 404)
        url = pacs.url(service, path, request.method)
        if request.method == "GET":
            return await _forward(url, request, None, threads)
        with tempfile.TemporaryFile() as body:
            async for chunk in request.stream():
                body.write(chunk)
            body.seek(0)
            return await _forward(url, request, body, threads)

    return router
