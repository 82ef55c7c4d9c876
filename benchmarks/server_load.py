"""How long `/info/` takes while clients ask for landmarks, and whether labels that many save at once are all kept.

On MONAI Label's stock server and on ours.

The app and the bundles are the same; only the FastAPI application differs. Run it in the environment of MONAI Label.

Example, the numbers of docs/performance.md:
    python benchmarks/server_load.py BUNDLES STUDIES --clients 16
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SERVERS = {"stock": "monailabel.app:app", "ours": "landmark_app.lib.server.application:app"}
START_SECONDS = 600


@contextlib.contextmanager
def running(uvicorn_app: str, bundles: Path, studies: Path) -> Iterator[str]:
    """A server; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = os.pathsep.join([str(REPOSITORY / "apps"), str(REPOSITORY)])
    with tempfile.TemporaryDirectory() as app:
        (Path(app) / "main.py").write_text("from landmark_app.main import LandmarkApp\n", encoding="utf-8")
        words = ["--app", app, "--studies", str(studies), "--conf", "bundles", str(bundles)]
        where = ["--host", "127.0.0.1", "--port", str(port), "--uvicorn_app", uvicorn_app]
        process = subprocess.Popen(
            [sys.executable, "-m", "monailabel.main", "start_server", *words, *where],
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            wait_for(process, url)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=60)


def wait_for(process: subprocess.Popen, url: str) -> None:
    """Wait until the server answers; RuntimeError if it ends, or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            get(f"{url}/info/")
            return
        time.sleep(0.5)
    raise RuntimeError("the server did not start; run the command of `auto_config serve` by hand to see why")


def get(url: str) -> dict:
    """The JSON of an address."""
    with urllib.request.urlopen(url, timeout=600) as answer:
        return json.load(answer)


def infer(url: str, model: str, image: str) -> tuple[int, float]:
    """Status and seconds of an inference."""
    query = urllib.parse.urlencode({"image": image, "output": "json"})
    request = urllib.request.Request(f"{url}/infer/{model}?{query}", data=b"", method="POST")
    begin = time.perf_counter()
    try:
        with urllib.request.urlopen(request, timeout=600) as answer:
            answer.read()
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
    return status, time.perf_counter() - begin


def measure(url: str, clients: int) -> dict[str, object]:
    """Latencies of `/info/`, in ms, while as many clients each ask for the landmarks of an image."""
    model = next(name for name, info in get(f"{url}/info/")["models"].items() if info["type"] == "segmentation")
    images = list(get(f"{url}/datastore/?output=all")["objects"])
    # The first one loads the weights.
    infer(url, model, images[0])
    idle = [info_ms(url) for _ in range(20)]
    done = threading.Event()
    busy: list[float] = []

    def ask() -> None:
        while not done.is_set():
            busy.append(info_ms(url))
            time.sleep(0.05)

    asking = threading.Thread(target=ask)
    with ThreadPoolExecutor(clients) as pool:
        begin = time.perf_counter()
        answers = [pool.submit(infer, url, model, images[i % len(images)]) for i in range(clients)]
        time.sleep(0.2)
        asking.start()
        found = [answer.result() for answer in answers]
    seconds = time.perf_counter() - begin
    done.set()
    asking.join()
    return {
        "idle_info_ms": summary(idle),
        "busy_info_ms": summary(busy),
        "inferences_s": round(seconds, 2),
        "slowest_inference_s": round(max(took for _, took in found), 2),
        "statuses": sorted({status for status, _ in found}),
    }


def save(url: str, image: str, tag: str, names: list[str], number: int) -> tuple[int, float]:
    """Status and seconds of saving a label whose points tell its number."""
    points = [{"label": name, "position": [float(number), 0.0, float(i)]} for i, name in enumerate(names)]
    node = {"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": points}
    edge = "----landmarks"
    head = f'--{edge}\r\nContent-Disposition: form-data; name="label"; filename="x.mrk.json"\r\n\r\n'
    body = f"{head}{json.dumps({'markups': [node]})}\r\n--{edge}--\r\n".encode()
    query = urllib.parse.urlencode({"image": image, "tag": tag})
    kind = {"Content-Type": f"multipart/form-data; boundary={edge}"}
    request = urllib.request.Request(f"{url}/datastore/label?{query}", data=body, headers=kind, method="PUT")
    begin = time.perf_counter()
    try:
        with urllib.request.urlopen(request, timeout=600) as answer:
            answer.read()
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
    return status, time.perf_counter() - begin


def saved(url: str, image: str, tag: str) -> float | None:
    """The number of the label that is kept, see `save`; None if there is no label."""
    query = urllib.parse.urlencode({"label": image, "tag": tag})
    try:
        return get(f"{url}/datastore/label?{query}")["markups"][0]["controlPoints"][0]["position"][0]
    except urllib.error.HTTPError:
        return None


def measure_saving(url: str, clients: int, each: int = 4) -> dict[str, object]:
    """Clients that each save labels under a tag of their own and ask for landmarks; what is kept of the labels."""
    models = get(f"{url}/info/")["models"]
    model, info = next((name, info) for name, info in models.items() if info["type"] == "segmentation")
    names = list(info["labels"])
    images = sorted(get(f"{url}/datastore/?output=all")["objects"])

    def work(client: int) -> list[tuple[int, float]]:
        image = images[client % len(images)]
        saved = [save(url, image, f"client{client}", names, number) for number in range(each)]
        return [*saved, infer(url, model, image)]

    with ThreadPoolExecutor(clients) as pool:
        begin = time.perf_counter()
        done = list(pool.map(work, range(clients)))
        seconds = time.perf_counter() - begin
    kept = [saved(url, images[client % len(images)], f"client{client}") for client in range(clients)]
    return {
        "save_ms": summary([took * 1000 for answers in done for _, took in answers[:-1]]),
        "saves": clients * each,
        "all_s": round(seconds, 2),
        "refused": sum(status != 200 for answers in done for status, _ in answers),
        "clients_without_their_last_label": sum(number != each - 1 for number in kept),
    }


def info_ms(url: str) -> float:
    """Milliseconds of one GET /info/."""
    begin = time.perf_counter()
    get(f"{url}/info/")
    return (time.perf_counter() - begin) * 1000


def summary(values: list[float]) -> dict[str, float]:
    """Median, 95 % and worst of some values, and their number."""
    ordered = sorted(values)
    return {
        "median": round(statistics.median(ordered), 1),
        "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 1),
        "worst": round(ordered[-1], 1),
        "n": len(ordered),
    }


def compare(name: str, bundles: Path, studies: Path, clients: int) -> None:
    """Measure a server and print JSON."""
    with running(SERVERS[name], bundles, studies) as url:
        print(json.dumps({name: measure(url, clients)}), flush=True)
        print(json.dumps({f"{name}, saving": measure_saving(url, clients)}), flush=True)


def main() -> int:
    """Measure one server after the other, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, help="folder of bundles with weights")
    parser.add_argument("studies", type=Path, help="folder of images that hold the world's origin")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=list(SERVERS))
    given = parser.parse_args()
    for name in given.servers:
        with tempfile.TemporaryDirectory() as folder:
            # What one server saves is not taken for what the other one does.
            studies = Path(shutil.copytree(given.studies, Path(folder) / "studies"))
            compare(name, given.bundles.resolve(), studies, given.clients)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
