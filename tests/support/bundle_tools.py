"""What the tests of written bundles share: small bundles, and a server that runs commands quickly."""

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import torch

from auto_config.bundle.json_text import json_text

REPOSITORY = Path(__file__).parents[2]


def edit(path: Path, change) -> None:
    """Change a JSON file as a person would."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json_text(content), encoding="utf-8")


def narrow(network: dict) -> None:
    """Take features and blocks from the JSON of a network, and of the one within it."""
    if "filters" in network:
        network["filters"] = [4 + 2 * level for level in range(len(network["filters"]))]
    if "depths" in network:
        network["depths"] = [1] * len(network["depths"])
    if "features" in network:
        network["features"] = 4
    if isinstance(network.get("channels"), int):
        network["channels"] = 4
    if "network" in network:
        narrow(network["network"])


def shrink(bundle: Path) -> Path:
    """Make a bundle small enough to train in a second: narrow networks, few and short epochs."""

    def shorten(config):
        for stage in config["network_def"]["stages"].values():
            narrow(stage)
        if "iterations_per_epoch" in config:
            config.update(iterations_per_epoch=3, val_interval=1, num_workers=0)
            config["train"]["trainer"]["max_epochs"] = 2

    for name in ("train.json", "inference.json"):
        edit(bundle / "configs" / name, shorten)
    return bundle


class Server:
    """Runs ``python -m MODULE ...`` in fresh processes that need no imports."""

    def __init__(self, folder: Path, python: str = sys.executable) -> None:
        self.folder = folder
        self.numbers = itertools.count()
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
        self.process = subprocess.Popen(
            [python, "-W", "ignore", str(Path(__file__).with_name("command_server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self.process.stdout.readline() == "ready\n"

    def run(self, *argv, cwd: Path, moment=None) -> tuple[int, str]:
        """Exit status and all output of one command."""
        output = self.folder / f"{next(self.numbers)}.txt"
        request = {
            "argv": [str(x) for x in argv],
            "cwd": str(cwd),
            "output": str(output),
            "moment": moment,
        }
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        status = int(self.process.stdout.readline())
        return status, output.read_text(encoding="utf-8", errors="replace")

    def prepare(self, code: str) -> None:
        """Run code in the server itself: what it imports need not be imported by the commands that follow."""
        self.process.stdin.write(json.dumps({"code": code}) + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "ready\n"

    def monai(self, bundle: Path, *arguments, cwd: Path | None = None, **kwargs) -> str:
        """``python -m monai.bundle ...``, which must end well; its output."""
        status, output = self.run("monai.bundle", *arguments, cwd=cwd or bundle, **kwargs)
        assert status == 0, output
        return output

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def ask(server: Server, folder: Path, program: str, what: str, bundles: list):
    """Run a function of one of this folder's programs in a fresh process; its answer."""
    path = folder / f"{what}.json"
    path.write_text(json.dumps({"what": what, "bundles": bundles}), encoding="utf-8")
    path.with_suffix(".answer").unlink(missing_ok=True)
    status, output = server.run(program, path, cwd=Path(__file__).parent)
    assert status == 0, output
    return json.loads(path.with_suffix(".answer").read_text(encoding="utf-8"))


def failures_of_zoo_test(test: Path, bundle: Path) -> set[str]:
    """Run the test that `package` wrote beside a bundle; names of its methods that did not pass."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "unittest", test.name],
        check=False,
        cwd=test.parent,
        env={**os.environ, "BUNDLE": str(bundle), "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert "\nRan 2 tests in " in done.stderr, done.stderr
    found = set(re.findall(r"^(?:ERROR|FAIL): (\w+)", done.stderr, re.MULTILINE))
    assert (done.returncode == 0) is (not found), done.stderr
    return found


def config(bundle: Path, name: str) -> dict:
    """One of the configs of a bundle."""
    return json.loads((bundle / "configs" / f"{name}.json").read_text(encoding="utf-8"))


def torchrun(bundle: Path, configs: str, *words: str) -> None:
    """Train a bundle with two processes, as its page says it; `configs` is a list of config files."""
    launcher = (sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    done = subprocess.run(
        [*launcher, "-m", "monai.bundle", "run", *words, "--config_file", configs],
        check=False,
        cwd=bundle,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr


def weights(bundle: Path, name: str = "model.pt") -> dict:
    """A file of ``models/``, which must load without running code from it."""
    return torch.load(bundle / "models" / name, weights_only=True)


def same(one: dict, other: dict) -> bool:
    """Whether two state dicts are equal, bit for bit; NaN stands in the shape model for what is not known."""
    return one.keys() == other.keys() and all(
        torch.equal(one[name].nan_to_num(), other[name].nan_to_num()) for name in one
    )
