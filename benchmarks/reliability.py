"""What trainings survive, counted: kills at random moments, full disks, cut cache files, two trainings at once.

Makes a data set of blobs and a small bundle in a temporary folder, and trains it with `auto_config train`. Exit status
1 if anything was not as it must be. Full disks are small tmpfs mounts in a name space of their own (Linux, `unshare`).

Example, the table of docs/reliability.md:
    python benchmarks/reliability.py --kills 20 --seed 0
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

import torch

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests" / "support")]

from blobs import write_blobs  # noqa: E402
from bundle_tools import edit, same, shrink, weights  # noqa: E402

from auto_config.commands.create import create  # noqa: E402

EPOCHS = 12
LIMIT_SECONDS = 600
BEGUN = ("Preprocessing", "Resuming from", "epoch ")
WEIGHTS = ("model.pt", "fold_0/model.pt")
# Fills a folder: its content goes to a file system of a given size, the command runs, and the content comes back.
FULL_DISK = """
set -e
folder=$1 size=$2 copy=$3; shift 3
cp -a "$folder" "$copy"
mount -t tmpfs -o size="$size" none "$folder"
cp -a "$copy"/. "$folder"
status=0; "$@" || status=$?
rm -rf "$copy"; cp -a "$folder" "$copy"
exit $status
"""


@dataclass
class Table:
    """How often each thing was tried, and how often it was as it must be."""

    rows: dict[str, list[bool]] = field(default_factory=dict)

    def add(self, what: str, is_right: bool, seen: str = "") -> None:
        """Count one try; what was seen is shown where it is not right."""
        self.rows.setdefault(what, []).append(bool(is_right))
        if not is_right:
            print(f"NOT AS IT MUST BE: {what}\n{seen}", flush=True)

    def text(self) -> str:
        """The table, in Markdown."""
        lines = [f"| {what} | {len(x)} | {sum(x)} | {len(x) - sum(x)} |" for what, x in self.rows.items()]
        return "\n".join(["| what | tried | as it must be | not |", "|---|---|---|---|", *lines])


class Training:
    """`auto_config train` in a process group of its own, and what it prints."""

    def __init__(self, bundle: Path, *options: str, before: tuple[str, ...] = ()) -> None:
        command = [sys.executable, "-m", "auto_config", "train", str(bundle), "--calibrate", "False", *options]
        self.process = subprocess.Popen(
            [*before, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(REPOSITORY)},
        )
        self.lines: list[str] = []
        self.begun_at: float | None = None
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if self.begun_at is None and any(word in line for word in BEGUN):
                self.begun_at = time.monotonic()

    def wait_until_begun(self) -> None:
        """Until it prepares images or trains, or has ended."""
        while self.begun_at is None and self._reader.is_alive():
            time.sleep(0.01)

    def wait(self) -> int:
        """Its exit status, with all it printed in `lines`."""
        status = self.process.wait(LIMIT_SECONDS)
        self._reader.join(LIMIT_SECONDS)
        return status

    def kill(self) -> None:
        """All its processes, as a crash of the machine does."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.wait()

    @property
    def output(self) -> str:
        """All it printed."""
        return "".join(self.lines)

    @property
    def errors(self) -> list[str]:
        """The lines that say why it failed."""
        return [line for line in self.lines if line.startswith("error: ")]


def damage(folder: Path) -> list[str]:
    """What does not load in a folder; files that are not there are whole."""
    return [str(path) for path in (*folder.rglob("*.pt"), *folder.rglob("*.json")) if not loads(path)]


def loads(path: Path) -> bool:
    """Whether a file of weights, or of JSON, can be read."""
    try:
        torch.load(path, weights_only=True) if path.suffix == ".pt" else json.loads(path.read_text(encoding="utf-8"))
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError):
        return False
    return True


def differences(bundle: Path, reference: Path) -> str:
    """Which files of weights are not those of the reference, bit for bit."""
    other = [name for name in WEIGHTS if not same(weights(bundle, name), weights(reference, name))]
    mine, never = (weights(folder, "fold_0/latest.pt") for folder in (bundle, reference))
    if not same(mine["network"], never["network"]) or mine["epoch"] != never["epoch"]:
        other.append("fold_0/latest.pt")
    return ", ".join(other)


@contextmanager
def copy_of(bundle: Path, name: str) -> Iterator[Path]:
    """A copy that is removed in the end."""
    copy = bundle.with_name(name)
    shutil.copytree(bundle, copy)
    try:
        yield copy
    finally:
        shutil.rmtree(copy)


def finish(bundle: Path, reference: Path, table: Table, what: str) -> None:
    """Resume to the end; the weights must be those of the reference."""
    resumes = ("--resume",) if (bundle / "models" / "fold_0" / "latest.pt").is_file() else ("--overwrite",)
    training = Training(bundle, *resumes)
    status = training.wait()
    other = differences(bundle, reference) if status == 0 else "no end"
    table.add(what, not other, f"{other}\n{training.output}")


def kills(untrained: Path, reference: Path, moments: list[float], table: Table) -> None:
    """Chains of trainings that are killed and resumed, each 0 to 3 epochs further, until one ends or all are killed."""
    done = chain = 0
    while done < len(moments):
        chain += 1
        with copy_of(untrained, f"killed_{chain}") as bundle:
            has_ended = False
            while done < len(moments) and not has_ended:
                has_state = (bundle / "models" / "fold_0" / "latest.pt").is_file()
                training = Training(bundle, "--resume" if has_state else "--overwrite")
                training.wait_until_begun()
                time.sleep(moments[done])
                training.kill()
                if training.process.returncode == -signal.SIGKILL:
                    done += 1
                    left = [*bundle.rglob("*.tmp"), *(bundle / "cache").glob(".*")]
                    last = training.lines[-1].strip()[:24]
                    print(f"kill {done}, training {chain}: after {last!r}, {len(left)} half files", flush=True)
                    broken = damage(bundle)
                    table.add("killed with SIGKILL: every file of weights and JSON is whole", not broken, str(broken))
                else:
                    has_ended = True
            finish(bundle, reference, table, "killed again and again, resumed to its end: weights equal bit for bit")


def full_disks(untrained: Path, reference: Path, table: Table) -> None:
    """A disk that becomes full under the weights, at different moments, and under the cache."""
    test = ["unshare", "--user", "--map-root-user", "--mount", "true"]
    if not shutil.which("unshare") or subprocess.run(test, check=False, capture_output=True).returncode:
        print("No name spaces on this machine: full disks are not tried.")
        return
    for of, sub, sizes in ((reference, "models", (230, 340, 580, 700)), (untrained, "cache", (100, 300))):
        for size in sizes:
            with copy_of(of, f"full_{sub}_{size}") as bundle:
                (bundle / sub).mkdir(exist_ok=True)
                for name in ("latest.pt", "progress.jsonl"):  # --overwrite removes them, too
                    (bundle / "models" / "fold_0" / name).unlink(missing_ok=True)
                script = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", FULL_DISK, "full"]
                before = (*script, str(bundle / sub), f"{size}k", str(bundle / "copy"))
                # A longer training of other weights, so that all files are written.
                options = ("--overwrite", "--seed=1") if sub == "models" else ()
                training = Training(bundle, *options, before=before)
                status = training.wait()
                said = status == 2 and len(training.errors) == 1 and "cannot be written: " in training.errors[0]
                table.add(f"disk of {sub}/ full: one line names the file, status 2", said, training.output)
                if sub == "models":
                    broken = damage(bundle / "copy") + [
                        f"{name} is gone" for name in WEIGHTS if not (bundle / "copy" / name).is_file()
                    ]
                    left = list((bundle / "copy").rglob("*.tmp"))
                    table.add(
                        "disk of models/ full: earlier or new weights whole, no half file",
                        not broken + left,
                        f"{broken}{left}",
                    )
                else:
                    # With the entries that the full disk could hold, and room again.
                    shutil.rmtree(bundle / sub)
                    (bundle / "copy").rename(bundle / sub)
                    finish(bundle, reference, table, "disk of cache/ full, then room again: weights equal bit for bit")


def cut_cache(untrained: Path, reference: Path, chosen: random.Random, table: Table) -> None:
    """One file of each kind in all entries cut at a random byte, then trained anew from that cache."""
    kinds = sorted({path.name for path in (reference / "cache").rglob("*.*") if path.is_file()})
    for kind in kinds:
        with copy_of(untrained, f"cut_{kind}") as bundle:
            shutil.rmtree(bundle / "cache", ignore_errors=True)
            # The key of an entry is in the path of the image, which is the same for all copies.
            shutil.copytree(reference / "cache", bundle / "cache")
            paths = sorted((bundle / "cache").rglob(kind))
            whole = [path.read_bytes() for path in paths]
            for path, content in zip(paths, whole, strict=True):
                path.write_bytes(content[: chosen.randrange(len(content))])
            training = Training(bundle)
            status = training.wait()
            for path, content in zip(paths, whole, strict=True):
                said = f"{path.parent} is damaged and is made again" in training.output
                table.add(
                    "cache file cut at a random byte: said, made again, whole", said and path.read_bytes() == content
                )
            other = differences(bundle, reference) if status == 0 else training.output
            table.add("training from cut cache files: weights equal bit for bit", not other, other)


def two_at_once(untrained: Path, reference: Path, table: Table) -> None:
    """A second training of a fold; another one of a fold whose command alone was killed; and two folds at once."""
    with copy_of(untrained, "two") as bundle:
        first = Training(bundle)
        second = Training(bundle, "--overwrite")
        status = second.wait()
        refused = status == 2 and len(second.errors) == 1 and "is running" in second.errors[0]
        table.add("second training of a fold: refused in one line, status 2", refused, second.output)
        status = first.wait()
        other = differences(bundle, reference) if status == 0 else first.output
        table.add("the first training meanwhile: weights equal bit for bit", not other, other)
    with copy_of(untrained, "orphan") as bundle:
        # Long enough to outlast the second one's patience.
        first = Training(bundle, "--max_epochs", "2000")
        while "epoch 1/" not in first.output and first.process.poll() is None:
            time.sleep(0.05)
        first.process.kill()  # the command alone; the process that trains goes on
        second = Training(bundle, "--resume")
        status = second.wait()
        refused = status == 2 and len(second.errors) == 1 and "is running" in second.errors[0]
        table.add("training whose command alone was killed: a second one is refused", refused, second.output)
        os.killpg(first.process.pid, signal.SIGKILL)
        first.wait()
        broken = damage(bundle)
        table.add("the same, then killed itself: every file whole", not broken, str(broken))
    with copy_of(untrained, "folds") as bundle:
        both = [Training(bundle, "--fold", "0"), Training(bundle, "--fold", "1", "--overwrite")]
        statuses = [training.wait() for training in both]
        network = weights(bundle, "fold_0/model.pt")
        table.add(
            "two folds trained at once: both end, weights of fold 0 equal bit for bit",
            statuses == [0, 0] and same(network, weights(reference, "fold_0/model.pt")),
            both[0].output + both[1].output,
        )
        in_use = weights(bundle, "model.pt")
        is_whole = any(same(in_use, weights(bundle, f"fold_{fold}/model.pt")) for fold in (0, 1))
        table.add("two folds trained at once: model.pt is that of one of them", is_whole)


def prepare(folder: Path) -> Path:
    """A small bundle, not trained."""
    write_blobs(folder / "data", cases=5)
    bundle = folder / "untrained"
    if create(folder / "data", bundle, network="tiny", stages=2, patch_size=[16, 16, 16], workers=1, few_labels=False):
        raise SystemExit("the bundle was not written")
    shrink(bundle)
    edit(bundle / "configs" / "train.json", lambda config: config["train"]["trainer"].update(max_epochs=EPOCHS))
    return bundle


def main() -> int:
    """Try everything, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="trainings to kill (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and bytes (default: 0)")
    options = parser.parse_args()
    chosen, table = random.Random(options.seed), Table()
    with tempfile.TemporaryDirectory(prefix="reliability_") as name:
        untrained = prepare(Path(name))
        with copy_of(untrained, "reference") as reference:
            training = Training(reference)
            if training.wait():
                raise SystemExit(training.output)
            assert training.begun_at is not None
            seconds = time.monotonic() - training.begun_at
            atexit.register(lambda: print(table.text(), flush=True))  # also after Ctrl-C
            two_at_once(untrained, reference, table)
            cut_cache(untrained, reference, chosen, table)
            full_disks(untrained, reference, table)
            moments = [chosen.uniform(0, 3 * seconds / EPOCHS) for _ in range(options.kills)]
            kills(untrained, reference, moments, table)
    return int(not all(all(row) for row in table.rows.values()))


if __name__ == "__main__":
    sys.exit(main())
