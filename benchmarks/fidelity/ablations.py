r"""Ablations of publications, made anew: does ours change with a part as the publication's did?

Each row is a run of `accuracy.py` with one part exchanged, for equal time on one split. A run that is there is not
repeated. The tables of docs/methods.md:

    python benchmarks/fidelity/ablations.py noothout mouse_skull_ct runs/noothout --minutes 10 --every 5 --tests 8
    python benchmarks/fidelity/ablations.py nnlandmark isbi_data/datalist.json runs/nnlandmark --minutes 12 \
        --own_split --create --stages 1 --spacing 1.5,1.5 --patch_size 128,160

nnLandmark's target and loss are trained with the schedule of `default`: its own, made for 250 000 steps, had not begun
to learn after 1 477.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One run: what is exchanged, in the words of the table, as options of `create` and as values in train.json."""

    name: str
    create: list[str] = field(default_factory=list)
    values: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Ablation:
    """A table of a publication: the method, and its rows in the publication's order."""

    method: str
    rows: list[Row]


_VOTES = "scripts.methods.grid_votes.GridVoteLoss"
HEAVY = {
    "_target_": "scripts.methods.losses.WeightedLoss",
    "losses": [{"_target_": _VOTES, "vectors": False}, {"_target_": _VOTES, "cells": False}],
    "weights": [100, 1],
}
"""Of global_to_local, whose cross-entropy of cells is hundreds of times smaller than the error of its vectors."""

ABLATIONS = {
    "noothout": Ablation(
        "global_to_local",
        [
            Row("log R + C", ["--loss", "votes"]),
            Row("R + C", ["--loss", "votes_plain"]),
            Row("log R", ["--loss", "votes_log_vectors"]),
            Row("C", ["--loss", "votes_cells"]),
            Row("R", ["--loss", "votes_vectors"]),
            Row(
                "log R + C, cells weighed 100 times", ["--loss", "votes"], dict.fromkeys(("loss", "coarse_loss"), HEAVY)
            ),
        ],
    ),
    "nnlandmark": Ablation(
        "default",
        [
            Row("radius 15, top 20 %", ["--loss", "top_k_bce"]),
            Row("radius 7", ["--loss", "top_k_bce"], {"target#radius": 7}),
            Row("radius 23", ["--loss", "top_k_bce"], {"target#radius": 23}),
            Row("top 10 %", ["--loss", "top_k_bce"], {"loss#fraction": 0.1}),
            Row("top 100 %", ["--loss", "top_k_bce"], {"loss#fraction": 1.0}),
            Row("squared error", ["--loss", "mse"]),
        ],
    ),
}


def main() -> int:
    """Run what is missing and print the table; 1 if a run failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ablation", choices=ABLATIONS)
    parser.add_argument("source", type=Path, help="data set with images/ and landmarks/, or a converted public one")
    parser.add_argument("out", type=Path, help="folder with a folder for each row")
    parser.add_argument("--minutes", type=float, default=10.0)
    given, further = parser.parse_known_args()
    ablation = ABLATIONS[given.ablation]
    given.out.mkdir(parents=True, exist_ok=True)
    lines, failed = ["| | mean | median | 95 % | worst |", "|---|---|---|---|---|"], False
    for number, row in enumerate(ablation.rows):
        out = given.out / f"row_{number}"
        if not out.exists():
            run(row, ablation.method, given, further, out)
        line = row_of_table(row, out)
        print(line or f"{row.name}: failed, see {out}.log; remove {out} to run it again", flush=True)
        failed = failed or line is None
        lines += [line] if line else []
    print("\n".join(lines))
    return int(failed)


def run(row: Row, method: str, given: argparse.Namespace, further: list[str], out: Path) -> None:
    """Train and evaluate one row; what it printed is in OUT.log."""
    at = further.index("--create") if "--create" in further else len(further)
    command = [sys.executable, Path(__file__).parents[1] / "accuracy.py", given.source, out]
    command += ["--time_budget", f"{given.minutes * 60:g}s", *further[:at]]
    for key, value in row.values.items():
        command += ["--set", f"{key}={json.dumps(value)}"]
    command += ["--create", "--method", method, *row.create, *further[at + 1 :]]
    with out.with_suffix(".log").open("w", encoding="utf-8") as log:
        subprocess.run(list(map(str, command)), check=False, stdout=log, stderr=subprocess.STDOUT)


def row_of_table(row: Row, out: Path) -> str | None:
    """A line of the table, or None where the run did not come so far."""
    path = out / "predictions" / "metrics.json"
    if not path.is_file():
        return None
    metrics = json.loads(path.read_text(encoding="utf-8"))
    error = metrics[f"mre_{metrics['unit']}"]
    numbers = " | ".join(f"{error[name]:.3g}" for name in ("mean", "median", "p95", "max"))
    return f"| {row.name} | {numbers} |"


if __name__ == "__main__":
    sys.exit(main())
