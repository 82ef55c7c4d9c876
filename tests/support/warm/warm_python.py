"""An interpreter for tests whose commands are fresh processes, but need not import PyTorch and MONAI anew."""

import importlib.util
import multiprocessing.spawn
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from warm_client import read_at_the_start

HERE = str(Path(__file__).parent)
SCRIPTS = str(Path(__file__).parents[3] / "auto_config" / "bundle_scripts")
MODULES = ("torch", "torch.utils.data", "scipy.ndimage", "nibabel", "monai.bundle", "monai.engines", "monai.handlers")
OF_MONAI_LABEL = ("fastapi", "uvicorn", "pydantic_settings", "SimpleITK", "itk", "cv2", "sklearn", "scipy.signal")
OF_MONAI_LABEL += (
    "pydicom",
    "pynetdicom",
    "pydicom_seg",
    "highdicom",
    "dicomweb_client",
    "passlib",
    "requests_toolbelt",
)
"""What MONAI Label imports; itself it reads its settings from the environment as it is imported."""

SERVER = """import sys; sys.path.insert(0, {here!r}); import warm_server
request = warm_server.serve({address!r}, {modules!r}, {executable!r}, [{here!r}], {scripts!r})
if request is not None: warm_server.run(request)"""
CLIENT = """#!{interpreter} -IS
import sys; sys.path.insert(0, {here!r}); import warm_client
warm_client.main({interpreter!r}, {address!r}, {environment!r})
"""


class WarmPython:
    """Starts the server; `path` is what `sys.executable` may be. None where the system has no handles of processes."""

    def __init__(self, folder: Path, modules=MODULES) -> None:
        if importlib.util.find_spec("monailabel") is not None:
            modules = (*modules, *OF_MONAI_LABEL)
        self.process, self.interpreter, self.path = None, sys.executable, sys.executable
        if not hasattr(os, "pidfd_open") or not Path("/proc/self/fd").is_dir():
            return
        self.path = str(folder / "python")
        # Short, because the address of a socket has at most 107 letters.
        address = str(folder / "s")
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
        client = CLIENT.format(
            interpreter=self.interpreter, here=HERE, address=address, environment=read_at_the_start(environment)
        )
        Path(self.path).write_text(client, encoding="utf-8")
        Path(self.path).chmod(0o755)
        code = SERVER.format(here=HERE, address=address, modules=modules, executable=self.path, scripts=SCRIPTS)
        self.process = subprocess.Popen(
            [self.interpreter, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self.process.stdout.readline() == "ready\n"

    @contextmanager
    def in_use(self):
        """Have what this process starts, and processes that these start, use it."""
        before, spawning = sys.executable, multiprocessing.spawn.get_executable()
        sys.executable = self.path
        multiprocessing.set_executable(self.path)
        yield
        sys.executable = before
        multiprocessing.set_executable(spawning)

    def close(self) -> None:
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()
