"""The server: MONAI Label's addresses with everything that comes in checked.

`auto_config serve` starts it: `python -m landmark_app.lib.server.start start_server ... --uvicorn_app
landmark_app.lib.server.application:app`. Stock clients find what they know; docs/server.md says what differs and why.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI
from monailabel.config import settings
from monailabel.interfaces.utils.app import app_instance
from starlette.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware

from ..core.answers import answer_failures
from ..labels.reading_process import READING
from .auth import Guard, Role, needs, read_tokens
from .headers import SafeHeaders
from .limits import BodyLimit, FullQueue, WorkQueue
from .ohif import ohif_router
from .options import ServerOptions, read_options
from .proxy import proxy_router
from .routes_admin import model_router, upkeep_router
from .routes_auth import auth_router
from .routes_data import image_router, label_router, session_router
from .routes_tasks import batch_router, infer_router, info_router, sample_router, scoring_router, train_router
from .sessions import SECONDS_BETWEEN_LOOKS, BoundedSessions

CHECKS_WAITING, CHECKS_EACH = 64, 32
ROOM_FOR_FORM = 64 * 1024


def _lifespan(bounded: BoundedSessions) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    async def upkeep() -> None:
        while True:
            sessions = (await run_in_threadpool(app_instance)).sessions()
            if sessions is not None:
                await run_in_threadpool(bounded.remove_expired, sessions)
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        instance = await run_in_threadpool(app_instance)
        instance.server_mode(True)
        await run_in_threadpool(instance.on_init_complete)
        task = asyncio.create_task(upkeep())
        yield
        task.cancel()
        READING.close()

    return lifespan


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
    sessions = BoundedSessions(options.sessions, options.sessions_each, options.max_sessions_bytes)
    server = FastAPI(
        title="Landmark app", docs_url=None, redoc_url=None, openapi_url=None, lifespan=_lifespan(sessions)
    )
    answer_failures(server)
    # One at a time writes to the data store: its index is one file.
    writing = threading.Lock()
    # Checking a file reads it whole, so a few are checked at a time, and nobody has all the places.
    checks = WorkQueue("checks of sent files", options.check_workers, CHECKS_WAITING, CHECKS_EACH)
    inferences = WorkQueue("inferences", options.inference_workers, options.inference_queue, quiet=True)
    for router in (
        auth_router(tokens),
        info_router(),
        infer_router(options, sessions, inferences),
        batch_router(),
        train_router(),
        scoring_router(),
        sample_router(writing),
        image_router(options, writing, checks),
        label_router(options, writing, checks),
        session_router(options, sessions, checks),
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
    server.add_middleware(FullQueue, queue=inferences, path="/infer/")
    server.add_middleware(Guard, tokens=tokens, insecure=options.insecure, origins=options.cors_origins)
    if options.cors_origins:
        server.add_middleware(
            CORSMiddleware,
            allow_origins=list(options.cors_origins),
            allow_credentials=True,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
        )
    server.add_middleware(
        BodyLimit,
        max_bytes=options.max_upload_bytes,
        max_total=options.max_total_bytes,
        max_plain=options.max_params_bytes + ROOM_FOR_FORM,
    )
    server.add_middleware(SafeHeaders)
    return server


def _from_settings() -> FastAPI:
    try:
        return create_server(read_options(settings.MONAI_LABEL_APP_CONF), settings.MONAI_LABEL_STUDIES)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None


app = _from_settings()
