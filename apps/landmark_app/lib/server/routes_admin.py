"""Routes that are off unless `admin_endpoints` asks for them: weights, the log, a new start of the app."""

from __future__ import annotations

import os
import shutil
import time
from collections import deque
from pathlib import Path
from typing import Any

import torch
from fastapi import APIRouter, Depends, Request
from monailabel.config import settings
from monailabel.interfaces.utils.app import app_instance, clear_cache
from monailabel.utils.others.generic import file_checksum
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.responses import FileResponse, PlainTextResponse

from ..core.answers import jsonable
from ..core.errors import ClientError
from .auth import Role, needs
from .options import ServerOptions
from .uploads import ending, file_field, on_disk, read_form


def _weights(model: str, must_exist: bool = True) -> Path:
    """The file of a model's weights.

    Raises:
        ClientError: status 404; there is no such model, or no weights.
    """
    app = app_instance()
    path = app.model_file(model, validate=must_exist) if model in app._infers else None
    if not path or (must_exist and not Path(path).is_file()):
        raise ClientError(f"there are no weights of a model {model!r}", 404)
    return Path(path)


def _replace_weights(model: str, upload: UploadFile) -> dict[str, Any]:
    """Put sent weights in the place of a model's, if they are nothing but numbers.

    Raises:
        ClientError: status 422, for what is no state dict; 404 for an unknown model.
    """
    target = _weights(model, must_exist=False)
    with on_disk(upload, ending(upload.filename or "", (".pt",))) as path:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception:
            raise ClientError(
                "the file holds no plain weights of torch (a state dict); others may hold code", 422
            ) from None
        if not isinstance(state, dict) or not all(torch.is_tensor(value) for value in state.values()):
            raise ClientError("the file holds something else than a state dict of tensors", 422)
        beside = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.copyfile(path, beside)
        beside.replace(target)
    return {"checksum": file_checksum(target), "modified_time": int(target.stat().st_mtime)}


def model_router(options: ServerOptions) -> APIRouter:
    """Weights: what they are for everybody; get, replace and remove them if asked for."""
    router = APIRouter(prefix="/model")

    @router.get("/info/{model}", dependencies=[Depends(needs(Role.ANNOTATE))])
    def info(model: str) -> Any:
        _weights(model)
        return jsonable(app_instance().model_info(model))

    if "model" not in options.admin:
        return router
    admin = [Depends(needs(Role.ADMIN))]

    @router.get("/{model}", dependencies=admin)
    def get(model: str) -> Any:
        path = _weights(model)
        return FileResponse(path, media_type="application/octet-stream", filename=f"{model}{path.suffix}")

    @router.put("/{model}", dependencies=admin)
    async def put(request: Request, model: str) -> Any:
        form = await read_form(request, options.max_params_bytes)
        return await run_in_threadpool(_replace_weights, model, file_field(form, "file"))

    @router.delete("/{model}", dependencies=admin)
    def delete(model: str) -> Any:
        path = _weights(model)
        path.replace(path.with_name(f"{path.name}.{time.strftime('%Y%m%d_%H%M%S')}.deleted"))
        return {}

    return router


def upkeep_router(options: ServerOptions) -> APIRouter:
    """The log and a new start of the app, each if asked for."""
    router = APIRouter(dependencies=[Depends(needs(Role.ADMIN))])

    if "logs" in options.admin:

        @router.get("/logs/")
        def logs(lines: int = 300) -> Any:
            path = Path(settings.MONAI_LABEL_APP_DIR) / "logs" / "app.log"
            if not path.is_file():
                raise ClientError("there is no log yet", 404)
            with path.open(encoding="utf-8", errors="replace") as stream:
                return PlainTextResponse("".join(deque(stream, max(1, min(lines, 100_000)))))

    if "reload" in options.admin:

        @router.post("/reload")
        def reload() -> Any:
            clear_cache()
            app_instance().server_mode(True)
            return {}

    return router
