"""What `calibrate` prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from auto_config.bundle_scripts.points.landmarks import PRESENT
from auto_config.calibration.instances import detection_lines
from auto_config.calibration.out_of_fold import OutOfFold
from auto_config.wording import counted


def print_calibration(document: dict[str, Any], found: OutOfFold, unit: str, path: Path) -> None:
    """The key numbers, lengths in mm or pixels, and every reservation."""
    errors = np.linalg.norm(found.points - found.truth, axis=-1)
    errors = errors[found.status == PRESENT]
    table = Table("level", "ball: median radius", "finite", title=counted(len(found.cases), "unseen case"))
    for level, row in zip(document["levels"], document["regions"]["ball_mm"], strict=True):
        finite = [radius for radius in row if radius is not None]
        radius = f"{np.median(finite):.3g} {unit}" if finite else "-"
        table.add_row(f"{level:.0%}", radius, f"{len(finite)} of {len(row)}")
    console = Console()
    console.print(table)
    whose = "out of fold" if found.folds else "of the bundle"
    lines = [f"mean error {whose} {errors.mean():.3f} {unit} over {errors.size} points"] if errors.size else []
    if presence := document["presence"]:
        absent = f"{presence['absent']} absent{' or invented' if 'detection' in presence else ''}"
        lines.append(
            f"presence, of {absent} and {int((found.status == PRESENT).sum())} present landmarks: "
            f"AUROC {presence['auroc']:.3f}, F1 {presence['f1_present']:.3f} present and {presence['f1_absent']:.3f} "
            f"absent, calibration error {presence['expected_calibration_error']:.3f}"
            + (" (each case judged by others)" if presence["judged_by_others"] else "")
        )
        lines += detection_lines(presence.get("detection", {}))
    lines += _verdict_lines(document.get("verdict"))
    useless = [f"every case will be called failed: {document['useless']}"] if "useless" in document else []
    for line in [*lines, *useless, *document["notes"], f"{path}: written"]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _verdict_lines(found: dict[str, Any] | None) -> list[str]:
    """What verdicts promise, and what became of the cases that were spoiled on purpose."""
    if found is None:
        return [
            "verdicts: too few unseen cases went well; cases are compared with the training cases, at no stated rate"
        ]
    kinds = [
        f"{kind}: {', '.join(f'{count} {word}' for word, count in counts.items())}"
        for kind, counts in found["spoilings"].items()
    ]
    return [f"verdicts: {found['promise']}", *([f"spoiled on purpose: {'; '.join(kinds)}"] if kinds else [])]
