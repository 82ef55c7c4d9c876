"""Coverage-guided fuzzing of one parser with atheris, in a process of its own: a native reader may take it down.

`fuzz_parsers.py --engine atheris` starts it for each parser. An input is one byte, which says what file is replaced and
whether the format is forced, and the new content of the file. Half of the mutations are libFuzzer's, with the words of
the valid files as dictionary; the others are those of the seeds, which keep JSON valid.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
_LONGEST_INPUT = 20_000
_SLOWEST_S = 300
_DETECTED = 128
"""From this first byte on, the format is not forced."""
_NATIVE = {70: "timeout", 71: "memory", 77: "native crash"}
"""Exit statuses of libFuzzer."""


@dataclass
class Guided:
    """What fuzzing of one parser gave.

    Args:
        runs: Inputs that were read.
        edges: Edges of the package's code that they passed.
        outcomes: How often each outcome came.
        findings: What broke, a line each.
    """

    runs: int = 0
    edges: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


def fuzz_in_process(name: str, seconds: float, keep: Path) -> Guided:
    """Fuzz one parser for some seconds; a process that ends early is started again with what it had learned.

    Args:
        name: Of the parser.
        seconds: In all.
        keep: Folder for the inputs that broke it.
    """
    found = Guided()
    keep.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "corpus").mkdir()
        while (left := int(end - time.monotonic())) > 0:
            state = Path(folder) / "state.json"
            state.unlink(missing_ok=True)
            command = [sys.executable, __file__, name, str(left), folder, str(keep)]
            with (Path(folder) / "log").open("w+", errors="replace") as log:
                status = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
                log.seek(0)
                text = log.read()
            if not state.is_file():
                raise SystemExit(f"{name}: fuzzing did not start\n{text[-2000:]}")
            known = json.loads(state.read_text())
            found.runs += known["runs"]
            found.outcomes.update(known["outcomes"])
            found.findings += [one for one in known["findings"] if one not in found.findings]
            found.edges = max([found.edges, *(int(edges) for edges in re.findall(r"\bcov: (\d+)", text))])
            if status:
                found.findings.append(_NATIVE.get(status, f"exit status {status}"))
    return found


def _target(parser: Any, state: Path, keep: Path) -> Callable[[bytes], None]:
    """What libFuzzer calls: one input is read, and counted; what breaks is kept and not raised, so that it goes on."""
    outcomes: Counter[str] = Counter()
    findings: dict[str, str] = {}

    def save() -> None:
        document = {"runs": sum(outcomes.values()), "outcomes": outcomes, "findings": list(findings.values())}
        state.write_text(json.dumps(document))

    def read(data: bytes) -> None:
        first, content = data[:1] or b"\0", data[1:]
        which, detected = first[0] % _DETECTED, first[0] >= _DETECTED
        try:
            outcomes[parser.read(which, content, detected=detected)] += 1
        except Exception as error:
            outcomes["broken"] += 1
            last = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}: {str(error)[:200]}"
            key = kind.partition(": ")[0]
            if key not in findings:
                findings[key] = kind
                (keep / f"{parser.name}-{len(findings)}").write_bytes(data)
                save()
        if sum(outcomes.values()) % 50 == 1:
            save()

    return read


def _words(contents: Sequence[bytes]) -> list[bytes]:
    """Words of the valid files, for libFuzzer's dictionary."""
    found = (word for content in contents for word in re.findall(rb'"[^"\n]{1,30}"|[A-Za-z_]{3,30}', content[:5000]))
    return list(dict.fromkeys(found))[:200]


def _escaped(word: bytes) -> str:
    """A word as a line of libFuzzer's dictionary."""
    return '"' + "".join(f"\\x{sign:02x}" for sign in word) + '"'


def main() -> None:
    """Fuzz in this process: arguments are parser, seconds, folder of the state, and folder for what breaks."""
    import atheris

    sys.path.insert(0, str(_ROOT))
    name, seconds, folder, keep = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])
    with atheris.instrument_imports(include=["auto_config"]):
        pass
    from fuzz_parsers import Parser, spoil

    def mutate(data: bytes, longest: int, seed: int) -> bytes:
        if random.Random(seed).random() < 0.5:
            return bytes(atheris.Mutate(data, longest))
        return (data[:1] + spoil(data[1:], seed))[:longest]

    root = Path(tempfile.mkdtemp(dir=folder))
    parser = Parser(name, root)
    for number, content in enumerate(parser.contents):
        (folder / "corpus" / f"valid-{number}").write_bytes(bytes([number]) + content)
    arguments = [
        sys.argv[0], str(folder / "corpus"), f"-max_total_time={seconds}", f"-max_len={_LONGEST_INPUT}",
        "-rss_limit_mb=6000", f"-timeout={_SLOWEST_S}", f"-artifact_prefix={keep}/{name}-",
    ]  # fmt: skip
    if words := _words(parser.contents):  # libFuzzer refuses an empty dictionary
        (folder / "words").write_text("".join(f"{_escaped(word)}\n" for word in words))
        arguments.append(f"-dict={folder / 'words'}")
    atheris.Setup(arguments, _target(parser, folder / "state.json", keep), custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
