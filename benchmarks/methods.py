"""Methods side by side: equal time, one split, one table beside the mean shape.

Each method is a run of `accuracy.py`, one after the other, alone on the machine. A run that is there is not repeated,
so a table grows by calling this again with more methods. The numbers of docs/methods.md:

    python benchmarks/methods.py mouse_skull_ct runs/methods --methods default,nnlandmark,landmarker --minutes 15
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from auto_config.methods import METHODS

COLUMNS = ("method", "mean", "median", "95 %", "worst", "found", "parameters", "s a case", "memory MB", "trained s")


def main() -> int:
    """Run what is missing and print the table; 1 if a run failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="data set with images/ and landmarks/, or a converted public one")
    parser.add_argument("out", type=Path, help="folder with a folder for each method")
    parser.add_argument("--methods", default=",".join(METHODS), help="names with commas between, or all if not given")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--further", nargs=argparse.REMAINDER, default=[], help="further options of accuracy.py, last")
    given = parser.parse_args()
    names = given.methods.split(",")
    if unknown := [name for name in names if name not in METHODS]:
        parser.error(f"no method {', '.join(unknown)}; there are {', '.join(METHODS)}")
    given.out.mkdir(parents=True, exist_ok=True)
    for name in names:
        if not (given.out / name / "predictions" / "metrics.json").is_file():
            run(given.source, given.out / name, name, given.minutes, given.further)
    done = {name: metrics for name in names if (metrics := read_metrics(given.out / name)) is not None}
    print("\n".join(table(given.out, done)))
    return int(len(done) < len(names))


def run(source: Path, out: Path, method: str, minutes: float, further: list[str]) -> None:
    """Train and evaluate one method; what it printed is in OUT.log."""
    accuracy = Path(__file__).with_name("accuracy.py")
    command = [sys.executable, accuracy, source, out, "--time_budget", f"{minutes * 60:g}s"]
    own = [] if "--create" in further else ["--create"]
    with out.with_suffix(".log").open("w", encoding="utf-8") as log:
        arguments = [*map(str, command), *further, *own, "--method", method]
        done = subprocess.run(arguments, check=False, stdout=log, stderr=subprocess.STDOUT)
    if done.returncode:
        print(f"{method}: failed, see {out.with_suffix('.log')}", file=sys.stderr)


def read_metrics(out: Path) -> dict[str, Any] | None:
    """The metrics of a run, or None where it did not come so far."""
    path = out / "predictions" / "metrics.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def table(out: Path, done: dict[str, dict[str, Any]]) -> list[str]:
    """Lines of a Markdown table, the best first, the mean shape last."""
    if not done:
        return ["no run came to its end"]
    first = next(iter(done.values()))
    unit, threshold = first["unit"], next(iter(first["sdr"]))
    heads = [name if name != "found" else f"found within {threshold} {unit}" for name in COLUMNS]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for name, metrics in sorted(done.items(), key=lambda item: item[1][f"mre_{unit}"]["mean"]):
        cost = metrics.get("cost", {})
        cells = [name, *_errors(metrics, unit, threshold), f"{_parameters(out / name):,}"]
        memory = cost.get("peak_memory_mb")
        cells += [f"{cost['seconds_median']:.2f}", "-" if memory is None else f"{memory:.0f}"]
        lines.append(f"| {' | '.join([*cells, _trained(out.joinpath(name)) or '-'])} |")
    baseline = first["mean_shape_baseline"]
    if baseline:
        lines.append(f"| {' | '.join(['mean shape', *_errors(baseline, unit, threshold)])} | | | | |")
    return lines


def _errors(metrics: dict[str, Any], unit: str, threshold: str) -> list[str]:
    errors = [f"{metrics[f'mre_{unit}'][key]:.3f}" for key in ("mean", "median", "p95", "max")]
    return [*errors, f"{metrics['sdr'][threshold]:.1f} %"]


def _parameters(out: Path) -> int:
    """Number of parameters and buffers of the trained network."""
    import torch

    weights = torch.load(out / "bundle" / "models" / "model.pt", map_location="cpu", weights_only=True)
    return sum(tensor.numel() for tensor in weights.values() if torch.is_tensor(tensor))


def _trained(out: Path) -> str | None:
    """Seconds of `train`, from what accuracy.py printed last."""
    text = out.with_suffix(".log").read_text(encoding="utf-8")
    start = text.rfind('{\n "seconds"')
    return None if start < 0 else str(json.loads(text[start:])["seconds"]["train"])


if __name__ == "__main__":
    sys.exit(main())
