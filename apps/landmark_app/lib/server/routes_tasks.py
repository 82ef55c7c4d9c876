"""Routes that run something: inference, training, batch inference, scoring, and the choice of the next image."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

import anyio
import torch
from anyio import to_thread
from fastapi import APIRouter, BackgroundTasks, Depends, Request
from monailabel.endpoints.infer import send_response
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.batch_infer import BatchInferImageType
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.async_tasks.task import AsyncTask
from monailabel.utils.async_tasks.utils import processes, tasks
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from ..core.answers import jsonable
from ..core.devices import devices
from ..core.errors import ClientError
from ..core.info_fields import strategies_of
from ..core.requests import check_plain, image_id, parse_params, session_id
from ..store.images import UPLOAD_ENDINGS, check_image_file, require_image, why_unreadable
from ..tasks.batch import check_batch
from ..tasks.task_options import batch_options, infer_options, sample_options, scoring_options, train_options
from ..training.train import LandmarkTrain
from .auth import Role, account_of, needs
from .limits import WorkQueue
from .options import ServerOptions
from .sessions import BoundedSessions
from .uploads import ending, field, file_field, on_disk, read_form

Params = dict[str, Any] | None

_SECONDS_TO_END = 10
INFO_THREADS = 4


class Output(str, Enum):
    """Which part of an inference's answer a client wants; without one, both parts."""

    IMAGE = "image"
    JSON = "json"
    ALL = "all"


def _named(kind: str, name: str, known: dict[str, Any]) -> Any:
    if name not in known:
        raise ClientError(f"there is no {kind} {name!r}; there are {', '.join(sorted(known)) or 'none'}", 404)
    return known[name]


def info_router() -> APIRouter:
    """What the app is and has. Clients ask often, so it never waits for an inference, nor for a thread of others."""
    router = APIRouter(dependencies=[Depends(needs(Role.ANNOTATE))])
    threads = anyio.CapacityLimiter(INFO_THREADS)

    @router.get("/info/")
    async def info() -> Any:
        return await to_thread.run_sync(lambda: jsonable(app_instance().info()), limiter=threads)

    return router


class _Inference:
    """A request for inference, checked; `run` does it. Its image is of the data store, a session's, or sent along."""

    def __init__(  # noqa: PLR0917
        self, app: MONAILabelApp, bounded: BoundedSessions, model: str, image: str, session: str, form: FormData
    ) -> None:
        self.app = app
        self.bounded = bounded
        given = parse_params(field(form, "params"))
        task = _named("model", model, app._infers)
        if form.get("label"):
            raise ClientError(f"model {model} takes no label file; send points in params")
        self.request = {"model": model, **infer_options(given, model, task.info(), devices())}
        self.upload = file_field(form, "file") if form.get("file") else None
        self.session = session
        self.gone = threading.Event()
        # A function, and no method of the event: MONAI Label's own apps copy the request with all that it holds.
        self.request["is_gone"] = lambda: self.gone.is_set()  # noqa: PLW0108
        if self.upload is None and session:
            # MONAI Label's are a dictionary, which is empty, and so false, until the first one is asked for.
            known = app.sessions()
            found = None if known is None else bounded.get(known, session_id(session))
            if found is None:
                raise ClientError("there is no such session; it may be over, send the image again", 404)
            self.request["image"] = found.image
        elif self.upload is None:
            require_image(app.datastore(), image_id(image) if image else image)
            self.request["image"] = image

    def run(self) -> dict[str, Any]:
        """The app's answer. Blocks.

        Raises:
            ClientError: status 422, the image cannot be read; or what the app raises.
        """
        with ExitStack() as stack:
            if self.upload is not None:
                self.request["image"] = self._as_session(self.upload, stack)
            try:
                return self.app.infer(self.request)
            except Exception as error:
                # A damaged image fails somewhere deep in a transform; who asked wants to know that it is the image.
                if getattr(error, "status", None) is None and (reason := self._damage()):
                    raise ClientError(reason, 422) from error
                raise

    def _as_session(self, upload: UploadFile, stack: ExitStack) -> str:
        """The file of the sent image, in the folder of sessions, where the app takes files from."""
        sessions = self.app.sessions()
        if sessions is None:
            raise ClientError("images that are sent along are switched off here", 404)
        path = stack.enter_context(on_disk(upload, ending(upload.filename or "", UPLOAD_ENDINGS)))
        check_image_file(path)
        session = self.bounded.add(sessions, path, brief=True)
        stack.callback(sessions.remove_session, session.name)
        return str(session.image)

    def _damage(self) -> str | None:
        image = str(self.request["image"])
        path = Path(image) if Path(image).is_absolute() else Path(self.app.datastore().get_image_uri(image))
        return why_unreadable(path)


def infer_router(options: ServerOptions, bounded: BoundedSessions, queue: WorkQueue) -> APIRouter:
    """POST /infer/MODEL."""
    router = APIRouter(dependencies=[Depends(needs(Role.ANNOTATE))])

    @router.post("/infer/{model}")
    async def infer(  # noqa: PLR0917  FastAPI names them
        request: Request,
        background: BackgroundTasks,
        model: str,
        image: str = "",
        session_id: str = "",
        output: Output = Output.ALL,
    ) -> Any:
        queue.refuse_if_full(request)
        form = await read_form(request, options.max_params_bytes)
        with queue.place(request):
            inference = await run_in_threadpool(
                lambda: _Inference(app_instance(), bounded, model, image, session_id, form)
            )
            result = await queue.in_turn(inference.run, request, inference.gone)
        result["params"] = jsonable(result.get("params"))
        return await run_in_threadpool(send_response, inference.app.datastore(), result, output.value, background)

    return router


class _Job:
    """A kind of work in a process of its own, one at a time, as MONAI Label's `AsyncTask` runs it."""

    def __init__(self, method: str) -> None:
        self.method = method
        self._starting = threading.Lock()

    def start(self, request: dict[str, Any], enqueue: bool = False) -> Any:
        """Start, or queue behind what runs.

        Raises:
            ClientError: status 429; one runs, and `enqueue` is off.
        """
        # MONAI Label looks for processes alone, and misses what was accepted a moment ago.
        with self._starting:
            busy = any(task["status"] in {"SUBMITTED", "RUNNING"} for task in tasks(self.method))
            if busy and not enqueue:
                raise ClientError(f"a {self.method} task runs already; wait for it, or stop it", 429)
            answer, _ = AsyncTask.run(self.method, request=request, enqueue=True)
        return answer

    def status(self, all_tasks: bool, check_if_running: bool) -> Any:
        """The last task, or all.

        Raises:
            ClientError: status 404; there is none.
        """
        answer, detail = AsyncTask.status(self.method, all_tasks, check_if_running)
        if answer is None:
            raise ClientError(detail, 404)
        return jsonable_task(answer)

    def stop(self) -> Any:
        """Stop what runs, and wait until it has ended; empty if nothing does."""
        running = list(processes(self.method).values())
        answer = AsyncTask.stop(self.method)
        for process in running:
            # A large process takes a moment to go after it was killed.
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=_SECONDS_TO_END)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return jsonable_task(answer or {})


def jsonable_task(task: Any) -> Any:
    """A task, or a list of them, without what is no JSON."""
    if isinstance(task, list):
        return [jsonable_task(one) for one in task]
    return jsonable({name: list(value) if name == "details" else value for name, value in task.items()})


def _job_routes(
    router: APIRouter, address: str, job: _Job, more: Callable[[dict[str, Any]], dict[str, Any]] = dict
) -> None:
    @router.get(address, dependencies=[Depends(needs(Role.ANNOTATE))])
    def status(all: bool = False, check_if_running: bool = False) -> Any:
        found = job.status(all, check_if_running)
        return [more(one) for one in found] if isinstance(found, list) else more(found)

    @router.delete(address, dependencies=[Depends(needs(Role.TRAIN))])
    def stop() -> Any:
        return job.stop()


def _with_stats(task: dict[str, Any]) -> dict[str, Any]:
    """The newest training of a bundle with epoch, loss and error as numbers, and why it failed."""
    model = task.get("request", {}).get("model")
    newest = [one["id"] for one in tasks("train") if one["request"].get("model") == model][-1:]
    trainer = app_instance()._trainers.get(model)
    if trainer is None or newest != [task.get("id")]:
        return task
    stats = trainer.stats()
    # Until its process has started, the numbers are those of the training before.
    begun = datetime.strptime(task["start_ts"], "%Y-%m-%d %H:%M:%S").timestamp()
    return {**task, "stats": jsonable(stats) if stats.get("started", 0) >= begun else {}}


def train_router() -> APIRouter:
    """Training: status, start, stop."""
    router = APIRouter()
    job = _Job("train")
    _job_routes(router, "/train/", job, _with_stats)

    def request_for(model: str, params: dict[str, Any]) -> dict[str, Any]:
        trainer = _named("trainer", model, app_instance()._trainers)
        config = trainer.info().get("config") or {}
        wanted = train_options(check_plain(params, "params"), model, config, devices())
        if isinstance(trainer, LandmarkTrain):
            trainer.options(wanted)
        return {"model": model, **wanted}

    @router.post("/train/{model}", dependencies=[Depends(needs(Role.TRAIN))])
    def start(model: str, params: Params = None, enqueue: bool = False) -> Any:
        return job.start(request_for(model, params or {}), enqueue)

    @router.post("/train/", dependencies=[Depends(needs(Role.TRAIN))])
    def start_all(params: Params = None) -> Any:
        given = {name: value for name, value in (params or {}).items() if name != "client_id"}
        for name in given:
            _named("trainer", name, app_instance()._trainers)
        wanted = {model: request_for(model, given.get(model) or {}) for model in app_instance()._trainers}
        return {model: {"result": job.start(one, enqueue=True)} for model, one in wanted.items()}

    return router


def batch_router() -> APIRouter:
    """Batch inference: status, start, stop."""
    router = APIRouter()
    job = _Job("batch_infer")
    _job_routes(router, "/batch/infer", job)

    @router.post("/batch/infer/{model}", dependencies=[Depends(needs(Role.TRAIN))])
    def start(model: str, params: Params = None, images: BatchInferImageType = BatchInferImageType.IMAGES_ALL) -> Any:
        task = _named("model", model, app_instance()._infers)
        # MONAI Label's own default spreads the work over GPUs, and divides by their number.
        given = {"multi_gpu": torch.cuda.device_count() > 1, **check_plain(params or {}, "params")}
        wanted = batch_options(given, model, task.info(), devices())
        check_batch(wanted)
        return job.start({"model": model, "images": images, **wanted})

    return router


def scoring_router() -> APIRouter:
    """Scoring: status, start, stop."""
    router = APIRouter()
    job = _Job("scoring")
    _job_routes(router, "/scoring/", job)

    def request_for(method: str, params: dict[str, Any]) -> dict[str, Any]:
        task = _named("scoring method", method, app_instance()._scoring_methods)
        config = task.info().get("config") or {}
        return {"method": method, **scoring_options(check_plain(params, "params"), method, config)}

    @router.post("/scoring/{method}", dependencies=[Depends(needs(Role.TRAIN))])
    def start(method: str, params: Params = None, run_sync: bool = False) -> Any:
        request = request_for(method, params or {})
        return jsonable(app_instance().scoring(request)) if run_sync else job.start(request)

    return router


def sample_router(writing: threading.Lock) -> APIRouter:
    """POST /activelearning/STRATEGY: the image to annotate next; empty when all are done."""
    router = APIRouter(dependencies=[Depends(needs(Role.ANNOTATE))])

    @router.post("/activelearning/{strategy}")
    def sample(request: Request, strategy: str, params: Params = None) -> Any:
        app = app_instance()
        task = _named("strategy", strategy, app._strategies)
        config = task.info().get("config") or {}
        wanted = sample_options(check_plain(params or {}, "params"), strategy, config)
        result = app.next_sample({"strategy": strategy, **wanted})
        if not result:
            return {}
        image = result["id"]
        store = app.datastore()
        with writing:
            given = strategies_of(store.get_image_info(image))
            client = wanted.get("client_id") or account_of(request).name
            given[strategy] = {"ts": int(time.time()), "client_id": client}
            store.update_image_info(image, {"strategy": given})
        return jsonable({**result, **store.get_image_info(image)})

    return router
