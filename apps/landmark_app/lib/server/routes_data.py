"""Routes of the data store: images, labels, what is known of them; and sessions, which are images for an hour."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

from fastapi import APIRouter, BackgroundTasks, Depends, Request
from monailabel.config import settings
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.others.generic import file_checksum, get_mime_type
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.responses import FileResponse

from ..core.answers import jsonable
from ..core.errors import ClientError
from ..core.info_fields import check_info
from ..core.requests import image_id, parse_params, session_id, tag
from ..store.images import UPLOAD_ENDINGS, check_image_file, check_self_contained, require_image
from .auth import Role, account_of, needs
from .limits import WorkQueue
from .options import ServerOptions
from .sessions import BoundedSessions
from .uploads import ending, field, file_field, on_disk, read_form, stem

LABEL_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".seg.nrrd", ".mha", ".json", ".mrk.json", ".fcsv", ".bin")


class Listing(str, Enum):
    """What GET /datastore/ lists: numbers, everything, or what a training gets."""

    STATS = "stats"
    ALL = "all"
    TRAIN = "train"


def _store() -> Any:
    return app_instance().datastore()


def _file(path: str, what: str, check_sum: str | None = None) -> FileResponse:
    """A file as the answer.

    Raises:
        ClientError: status 404, there is none, or its checksum is another.
    """
    if not path or not Path(path).is_file():
        raise ClientError(f"there is no such {what}", 404)
    if check_sum:
        kind, _, digest = check_sum.rpartition(":")
        kind = kind or "SHA256"
        if kind not in {"SHA256", "SHA512", "MD5"}:
            raise ClientError(f"check_sum {kind}: give SHA256:..., SHA512:... or MD5:...")
        if file_checksum(path, algo=kind) != f"{kind}:{digest}":
            raise ClientError(f"the {what} is there with other content", 404)
    return FileResponse(path, media_type=get_mime_type(path), filename=Path(path).name)


def _known_label(label: str, its_tag: str) -> str:
    """The file of a label. Raises `ClientError` 404 if there is none."""
    path = _store().get_label_uri(image_id(label), tag(its_tag))
    if not path or not Path(path).is_file():
        raise ClientError(f"there is no label {label!r} with the tag {its_tag!r}", 404)
    return str(path)


def _new_image_endings() -> list[str]:
    listed = {pattern.removeprefix("*") for pattern in settings.MONAI_LABEL_DATASTORE_FILE_EXT}
    return [one for one in UPLOAD_ENDINGS if one in listed]


def _add_image(upload: UploadFile, name: str, params: dict[str, Any], writing: threading.Lock) -> dict[str, str]:
    its_ending = ending(upload.filename or "", _new_image_endings())
    name = image_id(name or stem(upload.filename or "", its_ending))
    store = _store()
    if settings.MONAI_LABEL_STUDIES.startswith(("http://", "https://")):
        raise ClientError("images of a PACS are sent to the PACS, not here")
    with on_disk(upload, its_ending, name) as path:
        check_image_file(path)
        with writing:
            if name in store.list_images():
                known = store.get_image_uri(name)
                if Path(known).is_file() and file_checksum(known) == file_checksum(path):
                    return {"image": name}
                raise ClientError(f"there is another image {name!r} already; remove it first, or give another id", 409)
            return {"image": store.add_image(name, str(path), params)}


def _save_label(
    upload: UploadFile, image: str, its_tag: str, params: dict[str, Any], writing: threading.Lock
) -> dict[str, Any]:
    image, its_tag = image_id(image), tag(its_tag or "final")
    its_ending = ending(upload.filename or "", LABEL_ENDINGS)
    app = app_instance()
    require_image(app.datastore(), image)
    with on_disk(upload, its_ending) as path:
        check_self_contained(path)
        with writing:
            label = app.datastore().save_label(image, str(path), its_tag, params)
    return {**(app.on_save_label(image, label) or {}), "image": image, "label": label}


async def _with_user(request: Request, form: FormData, name: str) -> dict[str, Any]:
    """The JSON object of a field, with who sent it; parsed off the event loop, of which it may take long."""

    def parse() -> dict[str, Any]:
        given = parse_params(field(form, name))
        check_info(given)
        return {**given, "user": account_of(request).name}

    return await run_in_threadpool(parse)


def image_router(options: ServerOptions, writing: threading.Lock, checks: WorkQueue) -> APIRouter:
    """Images: list, send, get, remove, and what is known of them."""
    router = APIRouter(prefix="/datastore")
    read, remove = [Depends(needs(Role.ANNOTATE))], [Depends(needs(Role.ADMIN))]

    @router.get("/", dependencies=read)
    def listing(output: Listing = Listing.STATS) -> Any:
        store = _store()
        if output is Listing.ALL:
            return jsonable(store.json())
        return jsonable(store.datalist() if output is Listing.TRAIN else store.status())

    @router.put("/", dependencies=read)
    @router.put("/image", dependencies=read)
    async def add(request: Request, image: str = "") -> Any:
        checks.refuse_if_full(request)
        form = await read_form(request, options.max_params_bytes)
        upload, params = file_field(form, "file"), await _with_user(request, form, "params")
        return await checks.run(lambda: _add_image(upload, image, params, writing), request)

    @router.delete("/", dependencies=remove)
    @router.delete("/image", dependencies=remove)
    def delete(id: str) -> Any:
        require_image(_store(), image_id(id))
        with writing:
            _store().remove_image(id)
        return {}

    @router.head("/image", dependencies=read)
    @router.get("/image", dependencies=read)
    def get(image: str, check_sum: str | None = None) -> Any:
        require_image(_store(), image_id(image))
        return _file(_store().get_image_uri(image), "image", check_sum)

    @router.get("/image/info", dependencies=read)
    def info(image: str) -> Any:
        require_image(_store(), image_id(image))
        return jsonable(_store().get_image_info(image))

    @router.put("/image/info", dependencies=read)
    async def update_info(request: Request, image: str) -> Any:
        form = await read_form(request, options.max_params_bytes)
        given = await _with_user(request, form, "info")
        await run_in_threadpool(require_image, _store(), image_id(image))
        return await run_in_threadpool(_locked, writing, lambda: _store().update_image_info(image, given))

    @router.get("/dataset", dependencies=[Depends(needs(Role.TRAIN))])
    def dataset(background: BackgroundTasks, limit_cases: int | None = None) -> Any:
        if not _store().datalist():
            raise ClientError("there are no final labels yet", 404)
        path = _store().get_dataset_archive(limit_cases)
        background.add_task(Path(path).unlink, missing_ok=True)
        return FileResponse(path, media_type="application/zip", filename="dataset.zip", background=background)

    return router


def _locked(lock: threading.Lock, function: Callable[[], Any]) -> Any:
    with lock:
        return function() or {}


def label_router(options: ServerOptions, writing: threading.Lock, checks: WorkQueue) -> APIRouter:
    """Labels: save, get, remove, and what is known of them."""
    router = APIRouter(prefix="/datastore")
    read, remove = [Depends(needs(Role.ANNOTATE))], [Depends(needs(Role.ADMIN))]

    @router.put("/label", dependencies=read)
    async def save(request: Request, image: str, tag: str = "final") -> Any:
        checks.refuse_if_full(request)
        form = await read_form(request, options.max_params_bytes)
        upload, params = file_field(form, "label"), await _with_user(request, form, "params")
        return await checks.run(lambda: _save_label(upload, image, tag, params, writing), request)

    @router.delete("/label", dependencies=remove)
    def delete(id: str, tag: str) -> Any:
        _known_label(id, tag)
        with writing:
            _store().remove_label(id, tag)
        return {}

    @router.head("/label", dependencies=read)
    def check(image: str, tag: str) -> Any:
        return _file(_known_label(image, tag), "label")

    @router.get("/label", dependencies=read)
    def get(label: str, tag: str) -> Any:
        return _file(_known_label(label, tag), "label")

    @router.get("/label/info", dependencies=read)
    def info(label: str, tag: str) -> Any:
        _known_label(label, tag)
        return jsonable(_store().get_label_info(label, tag))

    async def update(request: Request, label: str, its_tag: str, name: str) -> Any:
        form = await read_form(request, options.max_params_bytes)
        given = await _with_user(request, form, name)
        await run_in_threadpool(_known_label, label, its_tag)
        return await run_in_threadpool(_locked, writing, lambda: _store().update_label_info(label, its_tag, given))

    @router.put("/label/info", dependencies=read)
    async def update_info(request: Request, label: str, tag: str) -> Any:
        return await update(request, label, tag, "info")

    # The address and field of older clients.
    @router.put("/updatelabelinfo", dependencies=read)
    async def update_info_as_before(request: Request, label: str, tag: str) -> Any:
        return await update(request, label, tag, "params")

    return router


def session_router(options: ServerOptions, bounded: BoundedSessions, checks: WorkQueue) -> APIRouter:
    """Sessions: an image that a client sends to work on, and that is forgotten after an hour."""
    router = APIRouter(prefix="/session", dependencies=[Depends(needs(Role.ANNOTATE))])

    def sessions() -> Any:
        found = app_instance().sessions()
        if found is None:
            raise ClientError("sessions are switched off here", 404)
        return found

    def known(name: str, update_ts: bool = False) -> Any:
        found = bounded.get(sessions(), session_id(name), update_ts)
        if found is None:
            raise ClientError("there is no such session; it may be over", 404)
        return found

    def shown(session: Any) -> dict[str, Any]:
        # Not where its files are.
        return {name: getattr(session, name) for name in ("name", "create_ts", "last_access_ts", "expiry", "meta")}

    def create_session(upload: UploadFile, expiry: int, account: str) -> dict[str, Any]:
        its_ending = ending(upload.filename or "", UPLOAD_ENDINGS)
        with on_disk(upload, its_ending) as path:
            check_image_file(path)
            session = bounded.add(sessions(), path, account=account, expiry=max(0, expiry))
        return {"session_id": session.name, "session_info": shown(session)}

    @router.put("/")
    async def create(request: Request, uncompress: bool = False, expiry: int = 0) -> Any:
        if uncompress:
            raise ClientError("archives are not unpacked here; send one volume as .nii.gz, .nii, .nrrd or .mha")
        checks.refuse_if_full(request)
        form = await read_form(request, options.max_params_bytes)
        upload, account = file_field(form, "files"), account_of(request).name
        return await checks.run(lambda: create_session(upload, expiry, account), request)

    @router.get("/{name}")
    def get(name: str, update_ts: bool = False, image: bool = False) -> Any:
        session = known(name, update_ts)
        return _file(session.image, "image") if image else shown(session)

    @router.delete("/{name}")
    def delete(name: str) -> Any:
        session = known(name)
        sessions().remove_session(name)
        return shown(session)

    return router
