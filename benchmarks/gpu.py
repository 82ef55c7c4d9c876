"""What a GPU makes of a training and of a prediction: one command, under 8 minutes, a table and a JSON file.

python benchmarks/gpu.py OUT.json [--data DATASET] [--device cuda:0] [--seconds 450] [--quick]

For each network with each method, at the planned spacing: steps a second, share of the time in which the GPU works,
peak memory beside the plan's, loss beside network, host synchronisations, a case predicted; then what `torch.compile`,
channels last and CUDA graphs change, and the fused loss beside the naive one. A part that fails, or that takes longer
than its share of the time, is a row with its error. ``--device cpu --quick`` runs the same code small, for a look at
the program and at nothing else. Without a data set six volumes of 128^3 voxels are made.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser

from auto_config.bundle import opened
from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.bundle_scripts.methods.heatmap import EDTHeatmap
from auto_config.bundle_scripts.methods.interfaces import LOGITS, PointBatch
from auto_config.bundle_scripts.methods.losses import TopKBCELoss
from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.commands.create import create

NETWORKS, METHODS = ("tiny", "plain", "resenc_m"), ("default", "nnlandmark")
LANDMARKS = 16
Row = dict[str, Any]


class OutOfTimeError(Exception):
    """A part took longer than its share."""


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise `OutOfTimeError` in what takes longer."""

    def ring(*_: Any) -> None:
        raise OutOfTimeError(f"longer than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def made_data(folder: Path, edge: int, cases: int = 6) -> Path:
    """Volumes of noise with a blob for each landmark."""
    random = np.random.default_rng(0)
    names = tuple(f"p{number}" for number in range(LANDMARKS))
    (folder / "images").mkdir(parents=True)
    (folder / "landmarks").mkdir()
    axes = np.arange(edge, dtype=np.float32)
    base = random.uniform(0.15, 0.85, (LANDMARKS, 3)) * edge
    for case in range(cases):
        points = base + random.normal(0, 1.0, base.shape)
        image = random.normal(0, 3, (edge,) * 3).astype(np.float32)
        for height, point in zip(np.linspace(60, 200, LANDMARKS), points, strict=True):
            x, y, z = (np.exp(-((axes - place) ** 2) / 18) for place in point)
            image += (height * x[:, None, None] * y[:, None] * z).astype(np.float32)
        nib.save(nib.Nifti1Image(image, np.eye(4)), folder / "images" / f"c{case}.nii.gz")
        write_markups(
            folder / "landmarks" / f"c{case}.mrk.json", LandmarkSet(names, points, np.ones(LANDMARKS, dtype=np.int8))
        )
    return folder


class Card:
    """The device, with what only CUDA can say."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.is_gpu = device, device.type == "cuda"

    def about(self) -> Row:
        """Names and versions."""
        return {
            "card": torch.cuda.get_device_name(self.device) if self.is_gpu else "CPU (says nothing about a GPU)",
            "torch": torch.__version__,
            "cudnn": torch.backends.cudnn.version() if self.is_gpu else None,
        }

    def wait(self) -> None:
        """Until all that was asked for is done."""
        if self.is_gpu:
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], Any], times: int) -> float:
        """Of one call, the mean of `times` after one that does not count."""
        work()
        self.wait()
        started = time.perf_counter()
        for _ in range(times):
            work()
        self.wait()
        return (time.perf_counter() - started) / times

    def synchronisations(self, work: Callable[[], Any]) -> int | None:
        """How often the host waited, as torch counts it."""
        if not self.is_gpu:
            work()
            return None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                work()
            finally:
                torch.cuda.set_sync_debug_mode("default")
        return sum("synchroniz" in str(one.message) for one in caught)

    def busy_share(self, work: Callable[[], Any]) -> float | None:
        """The share of the time in which kernels run."""
        if not self.is_gpu:
            work()
            return None
        activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
        self.wait()
        with torch.profiler.profile(activities=activities) as profile:
            started = time.perf_counter()
            work()
            self.wait()
            seconds = time.perf_counter() - started
        return sum(event.self_device_time_total for event in profile.key_averages()) / 1e6 / seconds


class Bundle:
    """A bundle made for a data set, with its trainer in this process."""

    def __init__(self, card: Card, data: Path, root: Path, *, quick: bool, **options: Any) -> None:
        small = {"patch_size": [32, 32, 32]} if quick else {}
        with contextlib.redirect_stdout(io.StringIO()):
            if (
                create(
                    data,
                    root,
                    folds=2,
                    test_fraction=0.0,
                    workers=1 if quick else 4,
                    few_labels=False,
                    **small,
                    **options,
                )
                != 0
            ):
                raise RuntimeError("the bundle could not be made")
        self.card, self.root = card, root
        package = opened._import_scripts(root / "scripts")
        config = json.loads((root / "configs" / "train.json").read_text(encoding="utf-8"))
        config.update(bundle_root=str(root), device=f"$torch.device('{card.device}')")
        config.update(iterations_per_epoch=100_000, num_workers=0 if quick else 8)
        # Reports, validations and files are left out; what is measured is a step.
        config["train"]["handlers"] = []
        config["train"]["trainer"]["train_handlers"] = "$list(@train#handlers) + [@schedule, @shape_fit]"
        config["schedule"]["val_interval"] = None
        self.parser = ConfigParser(opened._with_package(config, package))
        self.plan = json.loads((root / "configs" / "plan.json").read_text(encoding="utf-8"))["decisions"]
        if card.is_gpu:
            torch.backends.cudnn.benchmark = True

    def steps(self, warm_up: int, count: int, seconds: float) -> Row:
        """Steps with the real loader: speed, memory, waits."""
        card, times, found = self.card, [], {}
        trainer = self.parser.get_parsed_content("train#trainer")
        if card.is_gpu:
            torch.cuda.reset_peak_memory_stats(card.device)
        begun = time.perf_counter()

        def after(engine: Any) -> None:
            if engine.state.iteration == warm_up:
                card.wait()
            if engine.state.iteration >= warm_up:
                times.append(time.perf_counter())
            if len(times) > count or (len(times) > 1 and time.perf_counter() - begun > seconds):
                card.wait()
                times[-1] = time.perf_counter()
                engine.terminate()

        trainer.add_event_handler(Events.ITERATION_COMPLETED, after)
        trainer.run()
        found["steps"] = len(times) - 1
        found["steps_a_second"] = (len(times) - 1) / (times[-1] - times[0])
        if card.is_gpu:
            found["peak_gb"] = torch.cuda.max_memory_reserved(card.device) / 1e9
        found["planned_gb"] = self.plan["gpu_memory_gb"]["value"]
        found["stated_gb"] = self.plan["memory"]["value"]["training_gpu_mb"] * 2**20 / 1e9
        batch = next(iter(self.parser.get_parsed_content("train#dataloader")))
        found["syncs_a_step"] = card.synchronisations(lambda: trainer._iteration(trainer, batch))
        found["gpu_share_of_a_step"] = card.busy_share(lambda: [trainer._iteration(trainer, batch) for _ in range(3)])
        images, targets = trainer.prepare_batch(batch, card.device, True)

        def network() -> Any:
            outputs = trainer.inferer(images, trainer.network)
            sum(x.sum() for output in outputs.values() for x in output.values()).backward()
            return outputs

        held = {stage: {k: v.detach() for k, v in output.items()} for stage, output in network().items()}

        def loss() -> None:
            again = {s: {k: v.clone().requires_grad_(True) for k, v in output.items()} for s, output in held.items()}
            trainer.loss_function(again, targets).backward()

        found["network_s"], found["loss_s"] = card.seconds(network, 3), card.seconds(loss, 3)
        return found

    def prediction(self, image: Path) -> Row:
        """One case after another that warms up."""
        network = self.parser.get_parsed_content("network_def")
        (self.root / "models").mkdir(exist_ok=True)
        torch.save({name: x.cpu() for name, x in network.state_dict().items()}, self.root / "models" / "model.pt")
        bundle = opened.open_bundle(self.root, device=str(self.card.device))
        data = bundle.preprocess(image)
        windows = 0

        def count(*_: Any) -> None:
            nonlocal windows
            windows += 1

        found = {"inference_s": self.card.seconds(lambda: bundle.heatmaps(data), 2)}
        handle = bundle.network.register_forward_pre_hook(count)
        found["syncs_an_image"] = self.card.synchronisations(lambda: bundle.heatmaps(data))
        handle.remove()
        found["network_calls"] = windows
        if found["syncs_an_image"] is not None:
            found["syncs_a_window"] = found["syncs_an_image"] / max(windows, 1)
        return found

    def ratios(self) -> Row:
        """A forward and backward pass of the last stage: what each way costs beside the plain one."""
        card, network = self.card, self.parser.get_parsed_content("network_def").to(self.card.device).train()
        stage = next(reversed(network.stages.values()))
        size = self.plan["stages"]["value"][-1]["patch_size"]
        image = torch.randn(2, self.plan["channels"]["value"], *size, device=card.device)
        half = torch.bfloat16

        def seconds(call: Any, given: torch.Tensor) -> float:
            def work() -> None:
                with torch.autocast(card.device.type, dtype=half, enabled=card.is_gpu):
                    out = call(given)
                out.float().sum().backward()

            return card.seconds(work, 5)

        plain = seconds(stage, image)
        found: Row = {"pass_s": plain}
        ways: dict[str, Callable[[], float]] = {
            "compile_ratio": lambda: seconds(torch.compile(stage), image),
            "cuda_graph_ratio": lambda: seconds(torch.cuda.make_graphed_callables(stage, (image,)), image),
            "channels_last_ratio": lambda: seconds(
                stage.to(memory_format=torch.channels_last_3d), image.contiguous(memory_format=torch.channels_last_3d)
            ),
        }
        return found | {name: _ratio(way, plain) for name, way in ways.items()}


def _ratio(way: Callable[[], float], plain: float) -> float | str:
    """What a way costs beside the plain one, or why it cannot be gone."""
    try:
        return way() / plain
    except OutOfTimeError:
        raise
    except Exception as error:
        return f"error: {_line(error)}"


def loss_ratio(card: Card, edge: int) -> Row:
    """The fused top-20 % loss beside the one of autograd, forward and backward."""
    size = (edge,) * 3
    logits = torch.randn(2, LANDMARKS, *size, device=card.device)
    points, status = torch.rand(2, LANDMARKS, 1, 3) * edge, torch.ones(2, LANDMARKS, dtype=torch.long)
    truth = PointBatch(points.to(card.device), status.to(card.device), PointBatch(points, status))
    target = EDTHeatmap([15.0] * 3)
    fused_loss, keep = TopKBCELoss(target), round(0.2 * edge**3)

    def fused() -> torch.Tensor:
        given = logits.clone().requires_grad_(True)
        value = fused_loss({LOGITS: given}, truth, size)
        value.backward()
        return value.detach()

    def naive() -> torch.Tensor:
        given = logits.clone().requires_grad_(True)
        wanted = target(truth.points[:, :, 0], size).flatten(2)
        each = torch.nn.functional.binary_cross_entropy_with_logits(given.flatten(2), wanted, reduction="none")
        value = each.topk(keep, dim=2).values.mean()
        value.backward()
        return value.detach()

    torch.testing.assert_close(fused(), naive(), rtol=1e-4, atol=1e-5)
    found = {"fused_s": card.seconds(fused, 3), "naive_s": card.seconds(naive, 3)}
    return found | {"ratio": found["fused_s"] / found["naive_s"]}


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:160]


def attempt(name: str, seconds: float, work: Callable[[], Row]) -> Row:
    """A row with what was measured, or with the error."""
    started = time.perf_counter()
    try:
        with at_most(seconds):
            found = work()
    except Exception as error:
        found = {"error": _line(error)}
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return {"part": name, **found, "took_s": time.perf_counter() - started}


def measured(card: Card, data: Path, folder: Path, *, seconds: float, quick: bool) -> Iterator[Row]:
    """Every part, one after the other; none may take more than a fair share of the time that is left."""
    end = time.perf_counter() + seconds
    pairs = [(network, method) for network in NETWORKS for method in METHODS]
    pairs = pairs[:1] if quick else pairs
    image = sorted(path for path in data.rglob("*") if path.name.endswith((".nii.gz", ".nii", ".nrrd", ".mha")))[0]
    left = 3 * len(pairs) + 1
    count = (1, 2) if quick else (10, 60)

    def share() -> float:
        nonlocal left
        left -= 1
        return max(5.0, 2 * (end - time.perf_counter()) / (left + 2))

    yield attempt("loss, fused against naive", share(), lambda: loss_ratio(card, 24 if quick else 112))
    for network, method in pairs:
        name, made = f"{network}, {method}", []

        def training(network: str = network, method: str = method, made: list[Bundle] = made) -> Row:
            root = folder / f"{network}_{method}"
            made.append(Bundle(card, data, root, quick=quick, network=network, method=method))
            return made[0].steps(*count, seconds=max(5.0, (end - time.perf_counter()) / (3 * len(pairs))))

        yield attempt(f"training: {name}", share(), training)
        yield attempt(f"prediction: {name}", share(), lambda made=made: made[0].prediction(image))
        yield attempt(f"ways: {name}", share(), lambda made=made: made[0].ratios())


def shown(row: Row) -> str:
    """A row for people."""
    values = [
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in row.items()
        if name != "part" and value is not None
    ]
    return f"{row['part']:34}  {'  '.join(values)}"


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, help="a data set of volumes that `create` reads")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--seconds", type=float, default=450.0)
    parser.add_argument("--quick", action="store_true", help="one bundle, tiny patches, two steps")
    options = parser.parse_args(argv)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("error: torch finds no GPU here; --device cpu --quick tries the program", file=sys.stderr)
        return 2
    card, started = Card(device), time.perf_counter()
    result: Row = {**card.about(), "parts": []}
    print("  ".join(f"{name} {value}" for name, value in card.about().items()), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or made_data(Path(folder) / "data", 40 if options.quick else 128)
        left = options.seconds - (time.perf_counter() - started)
        for row in measured(card, data, Path(folder), seconds=left, quick=options.quick):
            result["parts"].append(row)
            print(shown(row), flush=True)
            # After each part, so that a machine that is taken away leaves what was measured.
            atomic_write_text(options.out, json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
