"""Try a wheel as a new user would, on each Python at hand: install, demo, verify, package, predict, serve.

python -m build
python benchmarks/release/try_wheel.py dist/*.whl --pythons python3.10,python3.11,python3.12,python3.13

--installer "uv pip install --python {python}" installs by uv, whose cache spares the disk 8 GB for each environment.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from pathlib import Path

LABEL_PYTHONS = ((3, 10), (3, 11), (3, 12))


def main() -> int:
    """Run it; 1 if a step failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--pythons", default=sys.executable, help="commands, with commas")
    parser.add_argument(
        "--installer", default="{python} -m pip install", help="what installs a requirement that follows"
    )
    parser.add_argument("--minutes", type=float, default=4.0, help="of the demo's training")
    parser.add_argument("--no_server", action="store_true", help="do not try the annotation server")
    given = parser.parse_args()
    failed = 0
    for python in given.pythons.split(","):
        with tempfile.TemporaryDirectory(prefix="try_wheel_") as folder:
            trial = Trial(python, Path(folder), given.wheel.resolve(), given.installer)
            failed += not trial.run(given.minutes, server=not given.no_server)
    return int(failed > 0)


class Trial:
    """One Python: its environments, and a line for each step."""

    def __init__(self, python: str, folder: Path, wheel: Path, installer: str) -> None:
        self.python, self.folder, self.wheel, self.installer = python, folder, wheel, installer
        asked = subprocess.run(
            [python, "-c", "import sys, json; print(json.dumps(sys.version_info[:3]))"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        self.version = tuple(json.loads(asked.stdout))

    def run(self, minutes: float, *, server: bool) -> bool:
        """Every step, until one fails."""
        tool = self.folder / "core" / "bin" / "auto_config"
        demo, package = self.folder / "demo", self.folder / "shared.zip"
        bundle = demo / "brain_mri_afids32_demo"
        done = (
            self.environment("core", "demo")
            and self.step("--version", [tool, "--version"])
            and self.step(f"demo, {minutes:g} min", [tool, "demo", demo, "--minutes", minutes, "--cases", 10])
            and self.step("verify", [tool, "verify", bundle])
            and self.step("package", [tool, "package", bundle, package])
        )
        if not done:
            return False
        zipfile.ZipFile(package).extractall(self.folder / "unpacked")
        unpacked = next((self.folder / "unpacked").iterdir())
        image = sorted(demo.rglob("*.nii.gz"))[0]
        predictions = self.folder / "predictions"
        done = self.step("predict from the package", [tool, "predict", unpacked, image, predictions])
        if done and server and self.version[:2] in LABEL_PYTHONS:
            shutil.rmtree(self.folder / "core")  # 8 GB
            done = self.environment("label", "label") and self.serve(unpacked.parent, image)
        return done

    def environment(self, name: str, extra: str) -> bool:
        """A new environment with the wheel and an extra."""
        place = self.folder / name
        subprocess.run([self.python, "-m", "venv", place], check=True)
        python = place / "bin" / "python"
        words = [*shlex.split(self.installer.format(python=python)), f"{self.wheel}[{extra}]"]
        return self.step(f"install [{extra}]", words)

    def serve(self, bundles: Path, image: Path) -> bool:
        """Start the server, ask it for its models and for the points of an image, and stop it."""
        studies = self.folder / "studies"
        studies.mkdir()
        shutil.copy(image, studies / image.name)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        words = [self.folder / "label/bin/auto_config", "serve", studies, "--bundles", bundles, "--port", port]
        start, said = time.perf_counter(), self.folder / "server.log"
        with said.open("w") as log, subprocess.Popen(list(map(str, words)), stdout=log, stderr=log) as process:
            try:
                info = self.patient(f"http://127.0.0.1:{port}/info/", process)
                name = next((name for name in (info or {}).get("models", {}) if name.endswith("_points")), None)
                stem = image.name.removesuffix(".gz").removesuffix(".nii")
                answer = None if name is None else infer(f"http://127.0.0.1:{port}/infer/{name}?image={stem}")
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=60)
        works = answer is not None
        self.say("serve, and points by HTTP", works, time.perf_counter() - start)
        if not works:
            print(said.read_text()[-3000:])
        return works

    def patient(self, url: str, process: subprocess.Popen[bytes], seconds: float = 300) -> dict[str, object] | None:
        """The JSON of an address, once the server is up; None if it ended or took longer."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=30) as answer:
                return dict(json.load(answer))
            time.sleep(1)
        return None

    def step(self, name: str, words: list[object]) -> bool:
        """Run a command outside of the checkout; its output only if it fails."""
        start = time.perf_counter()
        done = subprocess.run(list(map(str, words)), cwd=self.folder, capture_output=True, text=True, check=False)
        self.say(name, done.returncode == 0, time.perf_counter() - start)
        if done.returncode:
            print((done.stdout + done.stderr)[-3000:])
        return done.returncode == 0

    def say(self, name: str, works: bool, seconds: float) -> None:
        """One line of the table."""
        version = ".".join(map(str, self.version))
        print(f"| {version} | {name} | {'works' if works else '**fails**'} | {seconds:.0f} s |", flush=True)


def infer(url: str) -> dict[str, object] | None:
    """What the server says of an image; None for an error."""
    request = urllib.request.Request(
        url + "&output=json", method="POST", data=b"", headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return dict(json.load(answer))
    except (OSError, ValueError) as error:
        print(error, getattr(error, "read", bytes)()[:300])
        return None


if __name__ == "__main__":
    sys.exit(main())
