"""The server: MONAI Label's addresses with everything that comes in checked.

Used as `python -m monailabel.main start_server --uvicorn_app landmark_app.lib.server:app ...`, as `auto_config serve`
does. Stock clients find what they know; docs/server.md says what differs and why.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI
from monailabel.config import settings
from monailabel.interfaces.utils.app import app_instance
from starlette.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware

from .answers import answer_failures
from .auth import Guard, Role, needs, read_tokens
from .limits import BodyLimit
from .ohif import ohif_router
from .options import ServerOptions, read_options
from .proxy import proxy_router
from .reading_process import READING
from .routes_admin import model_router, upkeep_router
from .routes_auth import auth_router
from .routes_data import image_router, label_router, session_router
from .routes_tasks import (
    batch_router,
    infer_router,
    info_router,
    sample_router,
    scoring_router,
    train_router,
)


@asynccontextmanager
async def _lifespan(_app: FastAPI) -> AsyncIterator[None]:
    instance = await run_in_threadpool(app_instance)
    instance.server_mode(True)
    await run_in_threadpool(instance.on_init_complete)
    yield
    READING.close()


def create_server(options: ServerOptions, studies: str) -> FastAPI:
    """The ASGI application.

    Args:
        options: what the person who starts it set.
        studies: folder of images, or address of a DICOMweb server.

    Raises:
        ValueError: the file of tokens is wrong.
    """
    tokens = read_tokens(options.tokens) if options.tokens else None
    READING.most_voxels = options.max_voxels
    server = FastAPI(title="Landmark app", docs_url=None, redoc_url=None, openapi_url=None, lifespan=_lifespan)
    answer_failures(server)
    # One at a time writes to the data store: its index is one file.
    writing = threading.Lock()
    for router in (
        auth_router(tokens),
        info_router(),
        infer_router(options),
        batch_router(),
        train_router(),
        scoring_router(),
        sample_router(writing),
        image_router(options, writing),
        label_router(options, writing),
        session_router(options),
        model_router(options),
        upkeep_router(options),
        proxy_router(studies),
        ohif_router(),
    ):
        server.include_router(router)

    @server.get("/", include_in_schema=False, dependencies=[Depends(needs(Role.ANNOTATE))])
    def root() -> Any:
        return {"name": "landmark app", "info": "/info/", "viewer": "/ohif/"}

    # The last one added is the first that a request meets.
    server.add_middleware(Guard, tokens=tokens, insecure=options.insecure, origins=options.cors_origins)
    if options.cors_origins:
        server.add_middleware(
            CORSMiddleware,
            allow_origins=list(options.cors_origins),
            allow_credentials=True,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
        )
    server.add_middleware(BodyLimit, max_bytes=options.max_upload_bytes)
    return server


def _from_settings() -> FastAPI:
    try:
        return create_server(read_options(settings.MONAI_LABEL_APP_CONF), settings.MONAI_LABEL_STUDIES)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None


app = _from_settings()
