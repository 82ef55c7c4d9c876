"""How much one correction repairs: simulated clicks on spoiled cases, against moving each point by hand.

Each case is spoiled as in robustness.py and predicted. Where its mean error is above --failed_mm, the worst landmark is
set to the truth, again and again, until all are within --limit_mm. By hand, a click moves one point only. Landmarks
that a cut has taken out of the image count for nothing.

Example:
    python benchmarks/trust/corrections.py runs/mouse_15m/bundle mouse_skull_ct --names runs/mouse_15m/test_cases.txt
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from robustness import Spoiling, Volume, cut, grey, turned

from auto_config.bundle.opened import OpenBundle, open_bundle
from auto_config.datasets import read_dataset
from auto_config.datasets.images import read_image
from auto_config.errors import UserError
from auto_config.prediction.corrected import corrected, first_look, predicted, why_not
from auto_config.prediction.fixed_cases import shape_of
from auto_config.prediction.shape_gaussian import ShapeGaussian

SPOILINGS: dict[str, Spoiling] = {
    "none": lambda volume, _: volume,
    "turn30": turned(30),
    "turn60": turned(60),
    "turn90": turned(90),
    "cut": cut(1 / 3),
    "grey": grey(lambda array, _: array * 10 + 1000),
    "noise": grey(lambda array, random: array + random.normal(size=array.shape) * np.ptp(array) / 2),
}


def places(done: dict[str, Any]) -> np.ndarray:
    """World mm (L, D) of a result."""
    return np.array([item["world"] for item in done["result"]["landmarks"]], dtype=np.float64)


def simulated(
    opened: OpenBundle, shape: ShapeGaussian, path: Path, truth: np.ndarray, options: argparse.Namespace
) -> dict[str, Any] | None:
    """Clicks on one case; None where it has not failed."""
    look = first_look(opened, opened.preprocess(path))
    found = places(predicted(opened, look))
    errors = np.linalg.norm(found - truth, axis=1)
    if not np.nanmean(errors) > options.failed_mm:
        return None
    by_hand = int((errors > options.limit_mm).sum())
    points, status = np.full_like(truth, np.nan), np.full(len(truth), -1)
    course: list[tuple[float, float]] = []
    seconds: list[float] = []
    while len(course) < options.clicks and np.nanmax(errors) > options.limit_mm:
        worst = int(np.nanargmax(errors))
        others = np.isfinite(truth).all(axis=1) & (status < 0)
        others[worst] = False
        before = errors[others].mean() if others.any() else 0.0
        points[worst], status[worst] = truth[worst], 1
        start = time.perf_counter()
        done = corrected(opened, look, shape, points, status, seconds=options.seconds)
        seconds.append(time.perf_counter() - start)
        errors = np.linalg.norm(places(done) - truth, axis=1)
        course.append((before, errors[others].mean() if others.any() else 0.0))
    done_all = bool(np.nanmax(errors) <= options.limit_mm)
    return {"by_hand": by_hand, "course": course, "seconds": seconds, "done": done_all}


def main() -> None:
    """Read the command line, print a line for each failed case, and their means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("cases", type=Path)
    parser.add_argument(
        "--names", type=Path, help="file with names of cases, one a line; the bundle must not know them"
    )
    parser.add_argument("--spoil", nargs="+", default=["turn60", "turn90", "cut"], choices=list(SPOILINGS))
    parser.add_argument("--limit_mm", type=float, default=0.3)
    parser.add_argument("--failed_mm", type=float, default=0.5)
    parser.add_argument("--clicks", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=None, help="for crops in one update, as the server has 0.15")
    options = parser.parse_args()
    opened = open_bundle(options.bundle)
    shape = shape_of(opened)
    if (reason := why_not(opened, shape)) is not None or shape is None:
        raise UserError(f"{options.bundle}: {reason}")
    dataset, _ = read_dataset(options.cases)
    wanted = None if options.names is None else set(options.names.read_text(encoding="utf-8").split())
    cases = [case for case in dataset.cases if wanted is None or case.name in wanted]
    with tempfile.TemporaryDirectory() as folder:
        for how in options.spoil:
            found = []
            for case in cases:
                if case.landmarks is None:
                    continue
                image, truth = read_image(case.image), case.landmarks.ordered(opened.names).points
                whole = Volume(image.array[0], image.affine, truth, np.isfinite(truth).all(axis=1))
                volume = SPOILINGS[how](whole, np.random.default_rng(list(case.name.encode())))
                truth = np.where(volume.inside[:, None], volume.points, np.nan)
                path = Path(folder) / "case.nii.gz"
                nib.save(nib.Nifti1Image(volume.array.astype(np.float32), volume.affine), path)
                one = simulated(opened, shape, path, truth, options)
                if one is None:
                    continue
                found.append(one)
                means = " ".join(f"{before:.2f}>{after:.2f}" for before, after in one["course"])
                end = "" if one["done"] else "+"
                print(
                    f"{how} {case.name}: {len(one['course'])}{end} clicks (by hand {one['by_hand']}); {means}",
                    flush=True,
                )
            if found:
                first = [1 - after / before for one in found for before, after in one["course"][:1] if before > 0]
                seconds = [x for one in found for x in one["seconds"]]
                print(
                    f"{how}: {len(found)} failed; error of the others after one click {-100 * np.mean(first):+.0f} %; "
                    f"clicks {np.mean([len(one['course']) for one in found]):.1f} against "
                    f"{np.mean([one['by_hand'] for one in found]):.1f} by hand; {np.median(seconds):.3f} s an update "
                    f"(longest {max(seconds):.3f})"
                )


if __name__ == "__main__":
    main()
