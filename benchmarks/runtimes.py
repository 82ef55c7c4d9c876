"""What a prediction on the CPU costs: networks by PyTorch and by onnxruntime, the start, and reading ahead.

    python benchmarks/runtimes.py networks BUNDLE [--rounds 7] [--threads 2]
    python benchmarks/runtimes.py start BUNDLE IMAGE [--rounds 5]
    python benchmarks/runtimes.py reading BUNDLE IMAGES [--rounds 3]
    python benchmarks/runtimes.py parts BUNDLE IMAGE [--rounds 3] [--threads 2]
    python benchmarks/runtimes.py journeys [BUNDLE IMAGE] [--rounds 3] [--threads 2] [--quick]

What is compared is run in turn, round by round, so that both sides see the same load of the machine; ratios of medians
are printed with that load. The seconds of networks and of the start are those of the processor, which other processes
change little; with more than one thread, threads that wait for each other count as well. `start` also prints what
each package's imports took of a whole call, in the smallest of the rounds, and what `import torch` alone takes. Python
may keep its bytecode, as an installed program does, and one call of each side is made before any counts. `parts` prints
the seconds of each part of one prediction as JSON, and `journeys` a table of them: the image, a cephalogram, a volume.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from costing.journeys import journeys, parts_of


def in_turn(sides: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Medians of what each side gives, called one after the other in each round; prints them with their ratios."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    load = []
    for number in range(rounds):
        # Every other round the other way round, so that no side is always the one after another.
        for name in list(sides) if number % 2 == 0 else list(sides)[::-1]:
            found[name].append(sides[name]())
        load.append(os.getloadavg()[0])
    medians = {name: statistics.median(values) for name, values in found.items()}
    first = next(iter(medians.values()))
    for name, value in medians.items():
        spread = f"{min(found[name]):.3g} to {max(found[name]):.3g}"
        print(f"  {name:32} {value:8.3g} s ({spread}), {first / value:5.2f} times as fast as the first", flush=True)
    print(
        f"  load of the machine {min(load):.0f} to {max(load):.0f}, {os.cpu_count()} cores, {rounds} rounds", flush=True
    )
    return medians


def networks(bundle: Path, rounds: int, threads: int) -> None:
    """Each stage on the patches of one call: float32, bfloat16 and onnxruntime, and how far the outputs are apart."""
    import torch

    from auto_config.bundle.opened import open_bundle
    from auto_config.exporting.onnx_files import OnnxNetwork
    from auto_config.exporting.runtime import onnx_file
    from auto_config.exporting.stages import stage_networks

    torch.set_num_threads(threads)
    opened = open_bundle(bundle, device="cpu")
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        for one in stage_networks(opened):
            patches = one.patches(8 if one.stage == "fine" and "coarse" in opened.network.stages else 1)
            laid_out = patches.contiguous(memory_format=torch.channels_last_3d)
            other = OnnxNetwork(onnx_file(one, Path(folder)), threads)

            def bfloat16(network: Any = one.network, image: Any = laid_out) -> Any:
                with torch.autocast("cpu", torch.bfloat16):
                    return network(image)

            calls = {
                "torch float32": lambda network=one.network, image=laid_out: network(image),
                "torch bfloat16": bfloat16,
                "onnxruntime float32": lambda network=other, image=patches: network(image),
            }
            outputs = {name: call().float() for name, call in calls.items()}
            exact = outputs["torch float32"]
            print(f"{one.name}: patches {tuple(patches.shape)}, {threads} threads")
            for name, output in outputs.items():
                apart = float((output - exact).abs().max() / exact.abs().max())
                print(f"  {name:32} differs by {apart:.1e} of the largest value")
            in_turn({name: _seconds(call) for name, call in calls.items()}, rounds)


def _seconds(call: Callable[[], Any]) -> Callable[[], float]:
    """Seconds of the processor: with one thread what a call costs, however many processes wait for the cores."""

    def measured() -> float:
        start = time.process_time()
        call()
        return time.process_time() - start

    return measured


WATCHED = """
import json, sys, threading, time, _frozen_importlib as machinery
own, local, find = {}, threading.local(), machinery._find_and_load
def timed(name, import_):
    inside = local.__dict__.setdefault("inside", [0.0])
    begin = time.thread_time()
    inside.append(0.0)
    try:
        return find(name, import_)
    finally:
        taken = time.thread_time() - begin
        own[name] = own.get(name, 0.0) + taken - inside.pop()
        inside[-1] += taken
machinery._find_and_load = timed
answer = sys.argv.pop(1)
"""
"""Counts seconds of the processor that a module's own lines take when it is imported, without those of others."""
TOLD = """
with open(answer, "w") as stream:
    json.dump({"own": own, "all": time.process_time(), "modules": len(sys.modules)}, stream)
"""
STARTS = {
    "the whole of MONAI imported": "from auto_config.cli import main\nif main(sys.argv[1:]): sys.exit(1)",
    "imports put off": "from auto_config.cli import main\nif main(): sys.exit(1)",
    "import torch alone": "import torch",
}


def start(bundle: Path, image: Path, rounds: int) -> None:
    """`predict` of one image, with the whole of MONAI imported and with its imports put off, and torch alone."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        words = ["predict", str(bundle), str(image), f"{folder}/results", "--device", "cpu", "--overwrite"]
        smallest: dict[str, dict[str, Any]] = {}

        def measured(name: str) -> float:
            answer = Path(folder) / "answer.json"
            program = f"{WATCHED}\n{STARTS[name]}\n{TOLD}"
            seconds = _processor([sys.executable, "-c", program, str(answer), *words])()
            told = json.loads(answer.read_text(encoding="utf-8"))
            if name not in smallest or told["all"] < smallest[name]["all"]:
                smallest[name] = told
            return seconds

        for name in STARTS:
            measured(name)
        smallest.clear()
        in_turn({name: partial(measured, name) for name in STARTS}, rounds)
        for name, told in smallest.items():
            _print_shares(name, told)


def _print_shares(name: str, told: dict[str, Any]) -> None:
    """The packages whose imports took most of a call."""
    packages: dict[str, float] = {}
    for module, seconds in told["own"].items():
        # Scripts of a bundle are a package named after their content.
        package = "scripts of the bundle" if module.startswith("bundle_scripts_") else module.partition(".")[0]
        packages[package] = packages.get(package, 0.0) + seconds
    imports = sum(packages.values())
    print(f"{name}: {told['all']:.2f} s, of which imports of {told['modules']} modules {imports:.2f} s")
    for package, seconds in sorted(packages.items(), key=lambda one: -one[1])[:14]:
        print(f"  {package:32} {seconds:8.2f} s ({seconds / told['all']:.0%})")


def _processor(line: list[str]) -> Callable[[], float]:
    """Seconds of the processor that a command takes."""

    def measured() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(done.stderr)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return measured


def reading(bundle: Path, images: Path, rounds: int) -> None:
    """A folder of images, each read when it is its turn, and each read while the one before is predicted."""
    from auto_config.bundle_scripts.inference.prediction_files import PredictionFolder
    from auto_config.prediction import cases
    from auto_config.prediction.input import find_images, wanted_images
    from auto_config.prediction.sharing.job import Job, Predictor

    found = find_images(images, **wanted_images(bundle))
    ahead = cases.read_ahead

    def one_by_one(read: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[Any, Callable[[], Any]]]:
        for item in items:
            yield item, lambda item=item: read(item)

    def measured(how: Any) -> Callable[[], float]:
        def run() -> float:
            cases.read_ahead = how
            with tempfile.TemporaryDirectory() as folder:
                job = Job(bundle.resolve(), Path(folder), debug=True)
                predictor, writer = Predictor(job, "cpu"), PredictionFolder(job.output, job.bundle)
                begin = time.perf_counter()
                cases.write_outcomes(cases.one_by_one(predictor, found), writer, job, len(found), lambda _: None)
                return time.perf_counter() - begin

        return run

    print(f"{len(found)} images")
    in_turn({"read in turn": measured(one_by_one), "read ahead": measured(ahead)}, rounds)


def main() -> int:
    """Read the command line; 1 if a journey failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["networks", "start", "reading", "parts", "journeys"])
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("images", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true", help="journeys: small images, to see that it works")
    given = parser.parse_args()
    if given.what == "journeys":
        if given.bundle is not None and given.images is None:
            parser.error("journeys with a bundle needs an image, too")
        own = None if given.images is None else (given.bundle, given.images)
        return journeys(Path(__file__), own, given.threads, given.rounds, quick=given.quick)
    if given.bundle is None:
        parser.error(f"{given.what} needs a bundle")
    if given.what == "networks":
        networks(given.bundle, given.rounds, given.threads)
    elif given.images is None:
        parser.error(f"{given.what} needs images")
    elif given.what == "parts":
        print(json.dumps(parts_of(given.bundle, given.images, given.threads, given.rounds)))
    else:
        {"start": start, "reading": reading}[given.what](given.bundle, given.images, given.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
