"""Requests that nobody would send, from the OpenAPI page of the server: bytes on a connection, over every route."""

import contextlib
import functools
import json
import socket
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from unittest import mock
from urllib.parse import quote

import uvicorn
from attack_tools import form
from hypothesis import strategies as st
from landmark_app.lib.server.connections import BoundedProtocol, Bounds
from landmark_app.lib.server.options import ServerOptions
from tiny_app import write_image

ANSWER_SECONDS = 60.0
# Fields of forms, which the page does not list: name, and whether it is a file.
FIELDS = {
    "/datastore/": {"file": True, "params": False},
    "/datastore/image": {"file": True, "params": False},
    "/datastore/image/info": {"info": False},
    "/datastore/label": {"label": True, "params": False},
    "/datastore/label/info": {"info": False},
    "/datastore/updatelabelinfo": {"params": False},
    "/session/": {"files": True},
    "/infer/{model}": {"params": False, "file": True},
    "/auth/token": {"username": False, "password": False},
    "/model/{model}": {"file": True},
}
# Whoever may remove these would leave nothing for the next request.
REMOVABLE = ("/datastore", "/model")
# What a client would say, so that the rest of a request is reached.
RIGHT_PATH = {
    "model": "head",
    "method": "landmark_error",
    "strategy": "first",
    "service": "qido",
    "path": "studies",
    "name": "00000000-0000-4000-8000-000000000000",
}
RIGHT_QUERY = {"image": "case0", "label": "case0", "tag": "final", "output": "json", "id": "missing"}

ODD_TEXT = (
    "",
    " ",
    ".",
    "..",
    "../../etc/passwd",
    "/etc/passwd",
    "\\\\host\\share",
    "case0",
    "case0\n",
    "case0\x00",
    "head",
    "final",
    "é" * 200,
    "漢" * 90,
    "a" * 300,
    "a" * 9000,
    "$import os",
    "@bundle_root",
    "%x",
    "_target_",
    "null",
    "NaN",
    "1e999",
    "-1",
    "9" * 5000,
    "9" * 25,
    "true",
    "\ud800",
    "\u202e\ufeff\x1b[2J",
    "CON",
    "0.0.0.0/0",
)
ODD_PERCENT = (
    "%",
    "%%",
    "%g1",
    "%00",
    "%ff",
    "%c3%28",
    "%ed%a0%80",
    "%2e%2e%2f",
    "%252e",
    "%0d%0aX:1",
    "+",
    ";",
    "%u1234",
)
ODD_JSON = (
    "",
    "{",
    "null",
    "[]",
    "7",
    '"x"',
    "{}",
    '{"a": NaN}',
    '{"a": 1e999}',
    '{"a": ' + "9" * 5000 + "}",
    "[" * 3000 + "]" * 3000,
    '{"a": ' * 50 + "1" + "}" * 50,
    r'{"a": "\ud800"}',
    r'{"\udc00": 1}',
    '{"strategy": "abc"}',
    '{"device": "$1"}',
    '{"device": []}',
    '{"device": {}}',
    '{"image": "/etc/passwd"}',
    '{"label_tag": ["final", 1]}',
    '{"label_info": [{"idx": "x"}]}',
    '{"max_batch_size": 1e400}',
    '{"foreground": [[1, 2, 1e300]]}',
    '{"client_id": "' + "x" * 5000 + '"}',
    '{"model": 7}',
    "\ufeff{}",
)
ODD_FILES = (
    ("x.nii.gz", b""),
    ("x.nii.gz", b"\x1f\x8b\x08\x00"),
    ("x.nii", b"\0" * 400),
    ("x.nrrd", b"NRRD0004\n"),
    ("x.nrrd", b"NRRD0004\ntype: short\ndimension: 3\nsizes: 0 -1 99999999999\nencoding: raw\n\n"),
    ("x.mha", b"ObjectType = Image\nNDims = 3\nDimSize = 2 2\nElementDataFile = LOCAL\n"),
    ("x.json", b"{"),
    ("x.mrk.json", b'{"markups": [7]}'),
    ("x.fcsv", b"# Markups\n\xff\xfe,,,"),
    ("x.bin", b"\1\2"),
    ("x.pt", b"PK\3\4"),
    ("", b"x"),
    ("../../x.nii.gz", b"x"),
    ("\u00e9" * 300 + ".nii.gz", b"x"),
    ("x\0.nii.gz", b"x"),
)
ODD_HEADERS = (
    b"Host: [bad",
    b"Host: a/b",
    b"Content-Length: -1",
    b"Content-Length: 99999999999999999999999",
    b"Content-Length: 5, 6",
    b"Transfer-Encoding: gzip",
    b"Transfer-Encoding: chunked",
    b"Authorization: Basic \xff",
    b"Authorization: Bearer " + b"x" * 5000,
    b"Origin: http://[bad",
    b"Origin: null",
    b"Range: bytes=0-1,-,9999999999999999999-",
    b"Range: bytes=5-1",
    b"If-Modified-Since: x",
    b"Accept: */*;q=x",
    b"Cookie: \xff=\xff",
    b"Expect: 100-continue",
    b"Upgrade: websocket\r\nConnection: Upgrade",
    b"X: " + b"x" * 70_000,
    b"no colon",
)
ODD_TYPES = (
    b"multipart/form-data",
    b"multipart/form-data; boundary=",
    b"multipart/form-data; boundary=" + b"y" * 300,
    b"multipart/form-data; boundary=x; charset=nonsense",
    b"multipart/form-data; boundary=\xff",
    b"application/x-www-form-urlencoded",
    b"application/json",
    b"application/json; charset=utf-16",
    b"text/plain",
    b"\xff",
    b"",
)
BROKEN_FORMS = (
    b"",
    b"--x",
    b"--x\r\n\r\n",
    b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--",
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="x.nii.gz"\r\n\r\nabc',
    b'--x\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n\xff\r\n--x--\r\n',
    b"--x\r\n" + b"A: b\r\n" * 2000 + b"\r\n--x--",
    b"--x\r\nContent-Disposition: " + b"form-data; " * 2000,
    b'--x\r\nContent-Disposition: form-data; name="params"\r\n\r\n{}\r\n' * 50 + b"--x--",
    b"a=%&b=%zz&=&&params={",
    b"params=" + b"%" * 100,
    b"a&" * 3000,
)


@dataclass(frozen=True)
class Route:
    """A method and an address, with the names of what its query may have."""

    method: str
    path: str
    query: tuple[str, ...]


def routes(app) -> list[Route]:
    """All routes of a server."""
    found = [
        Route(method.upper(), path, tuple(p["name"] for p in one.get("parameters", ()) if p["in"] == "query"))
        for path, methods in app.openapi()["paths"].items()
        for method, one in methods.items()
    ]
    hidden = [Route(method, "/proxy/dicom/{service}/{path}", ("limit",)) for method in ("GET", "POST")]
    return [*found, *hidden, Route("GET", "/ohif/{path}", ()), Route("GET", "/", ())]


@functools.cache
def _good_files() -> list[tuple[str, bytes]]:
    """An image, and a label that is none of its."""
    with tempfile.TemporaryDirectory() as folder:
        return [("x.nii.gz", write_image(Path(folder) / "x.nii.gz").read_bytes())]


def _encoded(value: str) -> str:
    return quote(value.encode("utf-8", "surrogatepass"), safe="")


odd_values = st.one_of(
    st.sampled_from(ODD_TEXT).map(_encoded),
    st.sampled_from(ODD_PERCENT),
    st.text(max_size=30).map(_encoded),
    st.integers(-(2**70), 2**70).map(str),
)
plain_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
).map(lambda value: json.dumps(value, default=str))
odd_json = st.sampled_from(ODD_JSON) | plain_json


@st.composite
def requests(draw, known: list[Route]) -> bytes:
    """The bytes of a request for one of some routes."""
    route = draw(st.sampled_from(known))
    removes = route.method == "DELETE" and route.path.startswith(REMOVABLE)
    values = odd_values.filter(lambda value: not (removes and value.strip() in {"case0", "head"}))
    path, is_right = route.path, draw(st.booleans()) and not removes
    for name, right in RIGHT_PATH.items():
        path = path.replace(f"{{{name}}}", right if is_right else draw(values))
    names = st.sampled_from([*route.query, "unknown"])
    query = "&".join(f"{name}={draw(values)}" for name in draw(st.lists(names, max_size=4)))
    if draw(st.booleans()):
        query += "".join(f"&{name}={RIGHT_QUERY[name]}" for name in route.query if name in RIGHT_QUERY)
    body, kind = draw(bodies(route))
    method = draw(st.sampled_from([route.method] * 9 + ["TRACE", "OPTIONS", "HEAD", "get", "X" * 100]))
    if removes or (method == "DELETE" and route.path.startswith(REMOVABLE)):
        method = route.method
    headers = [b"Host: 127.0.0.1"]
    if kind:
        headers.append(b"Content-Type: " + kind)
    odd = draw(st.lists(st.sampled_from(ODD_HEADERS), max_size=1))
    if odd and odd[0].startswith(b"Host"):
        headers = headers[1:]
    if not odd or not odd[0].startswith((b"Content-Length", b"Transfer")):
        headers.append(b"Content-Length: %d" % len(body))
    target = f"{path}?{query}" if query else path
    head = f"{method} {target} HTTP/1.1".encode("ascii", "replace")
    return b"\r\n".join([head, *headers, *odd, b"Connection: close", b"", b""]) + body


@st.composite
def bodies(draw, route: Route) -> tuple[bytes, bytes]:
    """Body and type."""
    if route.method in {"GET", "HEAD"}:
        return b"", b""
    choice = draw(st.sampled_from(["form", "form", "form", "json", "broken", "bytes"]))
    if choice == "json":
        return draw(odd_json).encode("utf-8", "surrogatepass"), b"application/json"
    if choice == "broken":
        kinds = st.sampled_from([b"multipart/form-data; boundary=x", *ODD_TYPES])
        return draw(st.sampled_from(BROKEN_FORMS)), draw(kinds)
    if choice == "bytes":
        return draw(st.binary(max_size=200)), draw(st.sampled_from(ODD_TYPES))
    fields = {
        name: draw(st.sampled_from((*ODD_FILES, *_good_files()))) if is_file else draw(odd_json)
        for name, is_file in FIELDS.get(route.path, {"params": False}).items()
        if draw(st.integers(0, 4))
    }
    try:
        body, kind = form(**fields)
    except UnicodeEncodeError:
        return b"", b"multipart/form-data; boundary=x"
    return body, kind.encode()


def status_of(port: int, request: bytes) -> int | None:
    """The status of the answer to a request; None where the server closed without one."""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(request)
        said = b""
        with contextlib.suppress(ConnectionError):
            while chunk := client.recv(2**16):
                said += chunk if len(said) < 2**16 else b""
    # An Expect header is answered first.
    while said.startswith(b"HTTP/1.1 100"):
        said = said.partition(b"\r\n\r\n")[2]
    return int(said[9:12]) if said.startswith(b"HTTP/1.1 ") else None


class Impatient(BoundedProtocol):
    """Some requests promise more than they send."""

    bounds = Bounds(head_seconds=1.0, body_seconds=1.0, refused_seconds=1.0, look_seconds=0.2)


@contextlib.contextmanager
def fuzzed_server(folder: Path, bundles: Path):
    """Port and ASGI application of a server of the landmark app in this process; jobs are not started."""
    from landmark_app.lib.server.application import create_server
    from monailabel.config import settings
    from monailabel.interfaces.utils import app as apps

    (folder / "app").mkdir(parents=True)
    (folder / "app/main.py").write_text("from landmark_app.main import LandmarkApp\n")
    for number in range(3):
        write_image(folder / f"studies/case{number}.nii.gz")
    values = {
        "MONAI_LABEL_APP_DIR": str(folder / "app"),
        "MONAI_LABEL_STUDIES": str(folder / "studies"),
        "MONAI_LABEL_APP_CONF": {"bundles": str(bundles)},
        "MONAI_LABEL_SESSION_PATH": str(folder / "sessions"),
        "MONAI_LABEL_DATASTORE_AUTO_RELOAD": False,
    }
    with contextlib.ExitStack() as stack:
        for name, value in values.items():
            stack.enter_context(mock.patch.object(settings, name, value))
        stack.enter_context(mock.patch.dict(apps.apps, clear=True))
        stack.enter_context(mock.patch("landmark_app.lib.server.routes_tasks.AsyncTask.run", return_value=({}, None)))
        app = create_server(ServerOptions(admin=frozenset({"model", "logs"})), str(folder / "studies"))
        config = uvicorn.Config(app, port=0, http=Impatient, ws="none", log_level="critical")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.05)
        yield server.servers[0].sockets[0].getsockname()[1], app
        server.should_exit = True
        thread.join(30)
