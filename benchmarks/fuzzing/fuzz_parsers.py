"""Spoil the files of every format many times and count what the parsers make of them.

Each example changes one file of a small valid data set, or of one image: JSON values replaced, keys deleted, swapped or
repeated, lists nested 200 000 deep, text cut, swapped, in UTF-16, with carriage returns, with numbers of 5 000 digits,
random bytes. A parser may give a data set, problems, or an error of one line; anything else, a warning of numpy too, is
printed with its seed, and the status is 1. The tests run some dozens of the same examples.

    python benchmarks/fuzzing/fuzz_parsers.py --minutes 8
    python benchmarks/fuzzing/fuzz_parsers.py --parser coco --seed 17        # one example again, with its traceback
    python benchmarks/fuzzing/fuzz_parsers.py --engine atheris --minutes 60  # coverage-guided, with atheris
    python benchmarks/fuzzing/fuzz_parsers.py --parser coco --input FILE     # what it kept, again
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from format_examples import EXAMPLES, outcome  # noqa: E402 - found through the path above
from guided_fuzzing import Guided, fuzz_in_process  # noqa: E402
from image_examples import IMAGES, image_outcome  # noqa: E402
from spoiling import spoil  # noqa: E402

PARSERS = (*EXAMPLES, *IMAGES)
OUTCOMES = ("read", "problems", "error", "broken")


class Parser:
    """One parser with its example on disk."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.root = folder / name
        self.root.mkdir()
        self.forced, write = (None, IMAGES[name]) if name in IMAGES else EXAMPLES[name]
        self.files = write(self.root)
        self.contents = [path.read_bytes() for path in self.files]
        self.read(0, self.contents[0], detected=True)  # the first one imports the readers, which takes seconds

    def run(self, seed: int) -> str:
        """Read the data set with one file spoiled by a seed, some of them with the format detected."""
        which = seed % len(self.files)
        return self.read(which, spoil(self.contents[which], seed), detected=seed % 4 == 0)

    def read(self, which: int, content: bytes, *, detected: bool) -> str:
        """Read the data set with one file replaced: its number (modulo the number of files) and its new content."""
        which %= len(self.files)
        self.files[which].write_bytes(content)
        try:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always", RuntimeWarning)
                if self.name in IMAGES:
                    found = image_outcome(self.root)
                else:
                    found = outcome(self.root, None if detected else self.forced, content)
            told = [str(one.message) for one in said if issubclass(one.category, RuntimeWarning)]
            assert not told, f"a warning of the code: {told[0]}"
            return found
        finally:
            self.files[which].write_bytes(self.contents[which])


def count(name: str, seconds: float, start: int) -> tuple[Counter[str], list[int]]:
    """Examples of one parser for some seconds: how often each outcome came, and the seeds that broke it."""
    counts: Counter[str] = Counter()
    broken: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        parser = Parser(name, Path(folder))
        end = time.monotonic() + seconds
        seed = start
        while time.monotonic() < end:
            try:
                counts[parser.run(seed)] += 1
            except Exception as error:
                counts["broken"] += 1
                if len(broken) < 5:
                    print(f"{name} --seed {seed}: {type(error).__name__}: {str(error)[:200]}", flush=True)
                broken.append(seed)
            seed += 1
    return counts, broken


def again(name: str, seed: int | None, kept: str | None) -> int:
    """One example again, with its traceback: of a seed, or an input that the other engine kept."""
    with tempfile.TemporaryDirectory() as folder:
        parser = Parser(name, Path(folder))
        try:
            if kept is not None:
                data = Path(kept).read_bytes()
                print(parser.read(data[0] % 128, data[1:], detected=data[0] >= 128))
            else:
                print(parser.run(seed or 0))
        except Exception:
            traceback.print_exc()
            return 1
    return 0


def by_seeds(names: list[str], seconds: float, start: int) -> int:
    """Run the examples of the seeds and print the table."""
    print("| parser | examples | read | problems | error | broken |\n|---|---|---|---|---|---|", flush=True)
    failed = False
    for name in names:
        counts, broken = count(name, seconds, start)
        shown = " | ".join(str(counts[found]) for found in OUTCOMES)
        print(f"| {name} | {sum(counts.values())} | {shown} |", flush=True)
        failed |= bool(broken)
    return 1 if failed else 0


def by_coverage(names: list[str], seconds: float, keep: Path) -> int:
    """Run atheris on each parser and print the table; what breaks is kept in a folder."""
    if importlib.util.find_spec("atheris") is None:
        print("--engine atheris: the package is not installed; pip install atheris (Linux, Python 3.11 to 3.13)")
        return 2
    print("| parser | runs | edges | read | problems | error | findings |\n|---|---|---|---|---|---|---|", flush=True)
    results: list[Guided] = []
    for name in names:
        found = fuzz_in_process(name, seconds, keep)
        results.append(found)
        shown = " | ".join(str(found.outcomes[outcome_name]) for outcome_name in OUTCOMES[:-1])
        print(f"| {name} | {found.runs} | {found.edges} | {shown} | {len(found.findings)} |", flush=True)
        for finding in found.findings:
            print(f"  {name}: {finding}", file=sys.stderr, flush=True)
    findings = sum(len(found.findings) for found in results)
    print(
        f"{sum(found.runs for found in results)} runs, {findings} findings" + (f", kept in {keep}" if findings else "")
    )
    return 1 if findings else 0


def main() -> int:
    """Run it."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=float, default=8.0, help="for all parsers together")
    options.add_argument("--parser", choices=PARSERS, nargs="+", help="only these")
    options.add_argument("--seed", type=int, help="only this example, with its traceback")
    options.add_argument("--input", help="only this input that atheris broke a parser with, with its traceback")
    options.add_argument("--start", type=int, default=0, help="first seed")
    options.add_argument("--engine", choices=["seeds", "atheris"], default="seeds")
    options.add_argument("--keep", type=Path, default=Path("fuzzing-findings"), help="folder for inputs that break")
    given = options.parse_args()
    names = given.parser or list(PARSERS)
    seconds = given.minutes * 60 / len(names)
    if given.seed is not None or given.input is not None:
        return again(names[0], given.seed, given.input)
    if given.engine == "atheris":
        return by_coverage(names, seconds, given.keep)
    return by_seeds(names, seconds, given.start)


if __name__ == "__main__":
    sys.exit(main())
