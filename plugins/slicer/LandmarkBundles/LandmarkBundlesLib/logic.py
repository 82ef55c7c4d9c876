"""The server as the module uses it: HTTP with the standard library alone, so it can be tested without Slicer."""

from __future__ import annotations

import json
import os
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .atlas import AtlasEntry, atlas_of_server
from .landmarks import Landmark, check, from_answer, write_markups
from .verdicts import Verdict, read_verdict

POINTS = "_points"
_CHUNK_BYTES = 1 << 20
_NOT_FOUND = 404


class ServerError(Exception):
    """What the server said, or why it could not be asked, in one line.

    Args:
        message: for the person at the screen.
        status: of HTTP; 0 where the server could not be reached.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Bundle:
    """What the server offers.

    Attributes:
        name: of the bundle.
        landmarks: their names in order.
        trained: whether it can find them already.
        many: landmarks that an image may have any number of.
        atlas: definitions of landmarks by their names, where the server's info has them.
    """

    name: str
    landmarks: tuple[str, ...]
    trained: bool
    many: tuple[str, ...] = ()
    atlas: Mapping[str, AtlasEntry] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """An image to annotate.

    Attributes:
        image_id: the server's name for it.
        path: its file on the server's machine.
        file_name: of the file, with its ending.
    """

    image_id: str
    path: str
    file_name: str


class LandmarkServer:
    """A server that `auto_config serve` started.

    Args:
        url: such as ``http://127.0.0.1:8000``.
        token: of an account, where the server has them.
        timeout: longest wait for an answer, in seconds. Inference on a CPU can take minutes.

    Raises:
        ServerError: the address is none.
    """

    def __init__(self, url: str, token: str = "", timeout: float = 600.0) -> None:
        address = url.strip().rstrip("/")
        if urllib.parse.urlsplit(address).scheme not in ("http", "https"):
            raise ServerError(f"'{url}' is no address; give one like http://127.0.0.1:8000")
        self.url = address
        self._token = token.strip()
        self._timeout = timeout

    def bundles(self) -> list[Bundle]:
        """The bundles of the server.

        Raises:
            ServerError: no answer, or a server without this app.
        """
        info = self._json("GET", "/info/")
        found = []
        for name, state in info.get("bundles", {}).items():
            task = info.get("models", {}).get(name + POINTS)
            if task is None:
                continue  # the server says why with the name; nothing can be done with it here
            labels = task.get("labels", {})
            ordered = sorted(labels, key=labels.get) if isinstance(labels, Mapping) else list(labels)
            many, atlas = tuple(task.get("many", ())), atlas_of_server(task.get("atlas"))
            found.append(Bundle(name, tuple(ordered), bool(state.get("trained")), many, atlas))
        if not found:
            raise ServerError(f"{self.url} serves no landmark bundles; start it with `auto_config serve`")
        return found

    def strategies(self) -> list[str]:
        """Ways to choose the next image."""
        return list(self._json("GET", "/info/").get("strategies", {}))

    def next_sample(self, strategy: str = "random") -> Sample | None:
        """The next image to annotate; None when all are done."""
        found = self._json("POST", f"/activelearning/{_quoted(strategy)}", {})
        if not found.get("id"):
            return None
        path = str(found.get("path") or "")
        name = str(found.get("name") or Path(path).name)
        return Sample(str(found["id"]), path, Path(name).name)

    def download(self, sample: Sample, folder: str | os.PathLike[str]) -> Path:
        """The file of an image; the server's own where it is on this machine.

        Args:
            sample: the image.
            folder: where to write it.
        """
        if os.path.isfile(sample.path):  # noqa: PTH113  a path of another machine may be none of this system
            return Path(sample.path)
        target = Path(folder) / sample.file_name
        with (
            self._open("GET", f"/datastore/image?image={_quoted(sample.image_id)}") as answer,
            target.open("wb") as out,
        ):
            while chunk := answer.read(_CHUNK_BYTES):
                out.write(chunk)
        return target

    def find(self, bundle: str, image_id: str) -> tuple[list[Landmark], Verdict]:
        """Find the landmarks of an image, and what the bundle says of the case.

        Raises:
            ServerError: no weights yet, an image that cannot be read, or no answer.
        """
        address = f"/infer/{_quoted(bundle + POINTS)}?image={_quoted(image_id)}&output=json"
        answer = self._json("POST", address, fields={"params": "{}"})
        return from_answer(answer["landmarks"]), read_verdict(answer.get("verdict"))

    def infer(self, bundle: str, image_id: str) -> list[Landmark]:
        """The landmarks that `find` gives."""
        return self.find(bundle, image_id)[0]

    def submit(self, image_id: str, landmarks: Sequence[Landmark], bundle: Bundle, tag: str = "final") -> None:
        """Store the landmarks of an image.

        Args:
            image_id: the image.
            landmarks: LPS mm.
            bundle: whose landmarks they are.
            tag: ``final`` is what people have checked, and what training uses.

        Raises:
            MarkupsError: they are no landmarks of the bundle.
            ServerError: the server refused them, or no answer.
        """
        check(landmarks, bundle.landmarks, bundle.many)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "landmarks.mrk.json"
            file.write_text(write_markups(landmarks), encoding="utf-8")
            address = f"/datastore/label?image={_quoted(image_id)}&tag={_quoted(tag)}"
            self._json("PUT", address, fields={"params": "{}"}, files={"label": file})

    def train(self, bundle: str, *, max_epochs: int | None = None, pretrained: bool = True) -> None:
        """Start a training on all final labels.

        Args:
            bundle: its name.
            max_epochs: number of epochs; None for the server's default.
            pretrained: go on from the weights in use.
        """
        options: dict[str, Any] = {"pretrained": pretrained}
        if max_epochs is not None:
            options["max_epochs"] = max_epochs
        self._json("POST", f"/train/{_quoted(bundle)}", options)

    def stop_training(self) -> None:
        """Stop the training that runs, if one does; the best weights so far stay."""
        self._json("DELETE", "/train/")

    def training(self) -> dict[str, Any] | None:
        """The newest training: ``status`` (RUNNING, DONE, ERROR, STOPPED), ``stats``, ``details``; None without one."""
        try:
            return self._json("GET", "/train/")
        except ServerError as error:
            if error.status == _NOT_FOUND:
                return None
            raise

    def _json(
        self,
        method: str,
        address: str,
        body: Any = None,
        *,
        fields: Mapping[str, str] | None = None,
        files: Mapping[str, Path] | None = None,
    ) -> Any:
        if fields is not None:
            content, kind = multipart(fields, files or {})
        else:
            content, kind = (None if body is None else json.dumps(body).encode()), "application/json"
        with self._open(method, address, content, kind) as answer:
            text = answer.read().decode("utf-8")
        try:
            return json.loads(text) if text else {}
        except ValueError as error:
            raise ServerError(
                f"{self.url} answers with something else than JSON; is this the right address?"
            ) from error

    def _open(self, method: str, address: str, content: bytes | None = None, kind: str | None = None) -> Any:
        headers = {"Accept": "*/*"}
        if kind and content is not None:
            headers["Content-Type"] = kind
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(self.url + address, data=content, headers=headers, method=method)  # noqa: S310
        try:
            return urllib.request.urlopen(request, timeout=self._timeout)  # noqa: S310  http or https, see __init__
        except urllib.error.HTTPError as error:
            with error:
                raise ServerError(_said(error), error.code) from error
        except (urllib.error.URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            raise ServerError(f"{self.url} does not answer ({reason}); is the server running?") from error


def describe(task: Mapping[str, Any] | None) -> str:
    """A training in one line for a person.

    Args:
        task: what `LandmarkServer.training` gives.
    """
    if task is None:
        return "No training yet"
    stats = task.get("stats") or {}
    parts = [str(task.get("status", "")).capitalize()]
    if stats.get("max_epochs"):
        parts.append(f"epoch {stats.get('epoch', 0)}/{stats['max_epochs']}")
    for name, text in (("loss", "loss {:.4f}"), ("mre_mm", "error {:.2f} mm"), ("best_mre_mm", "best {:.2f} mm")):
        if stats.get(name) is not None:
            parts.append(text.format(stats[name]))
    if stats.get("seconds_left") is not None:
        parts.append(f"{stats['seconds_left'] / 60:.0f} min left")
    if stats.get("error"):
        parts.append(str(stats["error"]))
    elif task.get("details") and task.get("status") != "RUNNING":
        parts.append(str(task["details"][-1]))
    return ", ".join(parts)


def multipart(fields: Mapping[str, str], files: Mapping[str, Path]) -> tuple[bytes, str]:
    """A form with files: its body and content type.

    Args:
        fields: texts by name.
        files: paths by name of the field.
    """
    boundary = uuid.uuid4().hex
    parts = []
    for name, value in fields.items():
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
        parts.append(head.encode() + value.encode() + b"\r\n")
    for name, path in files.items():
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{path.name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        parts.append(head.encode() + path.read_bytes() + b"\r\n")
    parts.append(f"--{boundary}--\r\n".encode())
    return b"".join(parts), f"multipart/form-data; boundary={boundary}"


def _said(error: urllib.error.HTTPError) -> str:
    text = error.read().decode("utf-8", "replace")
    try:
        answer = json.loads(text)
        return str(answer.get("error") or answer.get("detail") or text)
    except (ValueError, AttributeError):
        return f"the server answered {error.code} {error.reason}"


def _quoted(text: str) -> str:
    return urllib.parse.quote(text, safe="")
