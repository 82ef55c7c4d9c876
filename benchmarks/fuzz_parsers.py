"""Spoil the files of every format many times and count what the parsers make of them.

Each example changes one file of a small valid data set: JSON values replaced, keys deleted, swapped or repeated, lists
nested 200 000 deep, text cut, swapped, in UTF-16, with carriage returns, with numbers of 5 000 digits, random bytes.
A parser may give a data set, problems, or an error of one line; anything else is printed with its seed, and the status
is 1. The tests run some dozens of the same examples.

    python benchmarks/fuzz_parsers.py --minutes 8
    python benchmarks/fuzz_parsers.py --parser coco --seed 17       # one example again, with its traceback
    python benchmarks/fuzz_parsers.py --engine atheris --parser csv # coverage-guided, where atheris is installed
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "datasets")]

from format_examples import EXAMPLES, outcome  # noqa: E402 - found through the path above
from spoiling import spoil  # noqa: E402


class Parser:
    """One parser with its example on disk."""

    def __init__(self, name: str, folder: Path) -> None:
        self.forced, write = EXAMPLES[name]
        self.root = folder / name
        self.root.mkdir()
        self.files = write(self.root)
        self.contents = [path.read_bytes() for path in self.files]

    def run(self, seed: int, change: bytes | None = None) -> str:
        """Read the data set with one file spoiled: by a seed, or replaced by `change`."""
        which = seed % len(self.files)
        spoiled = spoil(self.contents[which], seed) if change is None else change
        self.files[which].write_bytes(spoiled)
        try:
            # Some of them with the format detected, which looks into files too.
            return outcome(self.root, None if seed % 4 == 0 else self.forced, spoiled)
        finally:
            self.files[which].write_bytes(self.contents[which])


def count(name: str, seconds: float, start: int) -> tuple[Counter[str], list[int]]:
    """Examples of one parser for some seconds: how often each outcome came, and the seeds that broke it."""
    counts: Counter[str] = Counter()
    broken: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        parser = Parser(name, Path(folder))
        parser.run(0, parser.contents[0])  # the first read imports the readers, which takes seconds
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


def with_atheris(name: str, seconds: float) -> None:
    """Coverage-guided fuzzing of one parser; ends the process."""
    import atheris

    with atheris.instrument_imports(include=["auto_config"]):
        import auto_config.datasets  # noqa: F401 - instrumented as it is imported
    with tempfile.TemporaryDirectory() as folder:
        parser = Parser(name, Path(folder))
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number, content in enumerate(parser.contents):
            (corpus / str(number)).write_bytes(content)
        atheris.Setup(
            [sys.argv[0], str(corpus), f"-max_total_time={int(seconds)}", "-rss_limit_mb=4096"],
            lambda data: parser.run(0, data),
        )
        atheris.Fuzz()


def main() -> int:
    """Run it."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=float, default=8.0, help="for all parsers together")
    options.add_argument("--parser", choices=[*EXAMPLES], help="only this one")
    options.add_argument("--seed", type=int, help="only this example, with its traceback")
    options.add_argument("--start", type=int, default=0, help="first seed")
    options.add_argument("--engine", choices=["seeds", "atheris"], default="seeds")
    given = options.parse_args()
    names = [given.parser] if given.parser else list(EXAMPLES)
    seconds = given.minutes * 60 / len(names)
    if given.engine == "atheris":
        with_atheris(names[0], seconds)
        return 0
    if given.seed is not None:
        with tempfile.TemporaryDirectory() as folder:
            try:
                print(Parser(names[0], Path(folder)).run(given.seed))
            except Exception:
                traceback.print_exc()
                return 1
        return 0
    print("| parser | examples | read | problems | error | broken |\n|---|---|---|---|---|---|")
    failed = False
    for name in names:
        counts, broken = count(name, seconds, given.start)
        shown = " | ".join(str(counts[outcome_name]) for outcome_name in ("read", "problems", "error", "broken"))
        print(f"| {name} | {sum(counts.values())} | {shown} |", flush=True)
        failed |= bool(broken)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
