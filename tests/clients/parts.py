"""The real parts of the test: a network with nothing but loopback, Orthanc, and OHIF in Chromium."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

CLONE_NEWNET = 0x40000000
ORTHANC_PORT = 8042
DICOMWEB_PLUGINS = ("/usr/share/orthanc/plugins/libOrthancDicomWeb.so", "/usr/lib/orthanc/libOrthancDicomWeb.so")
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
# Without a graphics card, WebGL needs the three flags of swiftshader.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]


def what_is_missing() -> str | None:
    """What the test needs and this machine does not have, or None."""
    for module, package in (("monailabel", "monailabel, as the extra label has it"), ("playwright", "playwright")):
        if importlib.util.find_spec(module) is None:
            return f"the Python package {package}"
    if not shutil.which("Orthanc") or not dicomweb_plugin():
        return "the Debian packages orthanc and orthanc-dicomweb"
    if not chromium():
        return "the Debian package chromium"
    if not shutil.which("ip") or os.geteuid() != 0:
        return "the Debian package iproute2, and the rights of root for a network of its own"
    return None


def chromium() -> str | None:
    """The browser."""
    return next((path for name in CHROMIUM if (path := shutil.which(name))), None)


def dicomweb_plugin() -> str | None:
    """Orthanc's plugin for DICOMweb."""
    return next((path for path in DICOMWEB_PLUGINS if Path(path).exists()), None)


@contextlib.contextmanager
def only_loopback() -> Iterator[None]:
    """A network namespace with loopback alone, for this thread and the processes that it starts.

    Orthanc listens on all interfaces whatever it is told; and whatever a page asks of the internet must fail.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "no network namespace of its own")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
    finally:
        libc.setns(before, CLONE_NEWNET)
        os.close(before)


def wait_until(url: str, seconds: float) -> None:
    """Wait until an address answers."""
    deadline = time.monotonic() + seconds
    while not answers(url):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{url} does not answer after {seconds:g} s")
        time.sleep(0.3)


def answers(url: str) -> bool:
    """Whether an address answers, if only by asking who is there."""
    try:
        urllib.request.urlopen(url, timeout=5).read()
    except urllib.error.HTTPError as error:
        return error.code == HTTPStatus.UNAUTHORIZED
    except OSError:
        return False
    return True


@contextlib.contextmanager
def orthanc(folder: Path) -> Iterator[str]:
    """A PACS; gives the address of its DICOMweb."""
    configuration = {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "HttpPort": ORTHANC_PORT,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomServerEnabled": False,
        "Plugins": [dicomweb_plugin()],
        "DicomWeb": {
            "Enable": True,
            "Root": "/dicom-web/",
            "EnableWado": True,
            "WadoRoot": "/wado",
            "StudiesMetadata": "Full",
            "SeriesMetadata": "Full",
        },
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with (folder / "orthanc.log").open("w") as log:
        process = subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_until(f"http://127.0.0.1:{ORTHANC_PORT}/dicom-web/studies", 120)
        yield f"http://127.0.0.1:{ORTHANC_PORT}/dicom-web"
    finally:
        process.terminate()
        process.wait(timeout=60)
