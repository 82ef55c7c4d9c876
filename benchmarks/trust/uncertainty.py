"""Regions and presence on held-out cases: conformal regions beside the spreads of ensembles and of MC dropout.

The bundle's out-of-fold predictions calibrate; its test cases, seen by nothing before, judge. A bundle that was trained
with dropout (`auto_config train ... --network_def#stages#fine#dropout 0.1`) may be given for MC dropout. Chance on few
test cases is large, so out-of-fold cases judge each other too: calibrated on a random half, tested on the other.
``presence_of_other_cases`` calibrates on the test cases instead, as `auto_config calibrate --data` does, and judges
each by the others, with and without the agreement of the folds: these cases then are no test of such a bundle any more.

Example, the numbers of docs/uncertainty.md:
    python benchmarks/trust/cut_fields_of_view.py mouse_skull_ct runs/cut
    auto_config create runs/cut runs/bundle --test tests.txt
    auto_config train runs/bundle --fold all --time_budget 45m
    python benchmarks/trust/uncertainty.py runs/bundle --dropout runs/dropout_bundle --dropout_rate 0.1
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import chi2

from auto_config.bundle.opened import OpenBundle, open_bundle, weight_files
from auto_config.bundle_scripts.grid.grids import embed_affine
from auto_config.bundle_scripts.inference.calibration import Calibration, read_calibration
from auto_config.bundle_scripts.points.landmarks import PRESENT
from auto_config.calibration.conformal import (
    LEVELS,
    ball_scores,
    ball_volume,
    coverage,
    ellipsoid_scores,
    ellipsoid_volume,
    exact_coverage,
    quantiles,
)
from auto_config.calibration.document import evidence_of, peaks_of, presence_features
from auto_config.calibration.out_of_fold import (
    OutOfFold,
    joined,
    listed_cases,
    predict_case,
    read_out_of_fold,
    stacked,
)
from auto_config.calibration.presence import cross_fitted, cross_fitted_decisions
from auto_config.calibration.provenance import prediction_digest
from auto_config.calibration.reliability import auroc, expected_calibration_error, f1_score

SAMPLES = 20
"""Forward passes of MC dropout."""


def main() -> int:
    """Print a table and, with ``--out``, write the numbers as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="calibrated bundle with test cases, trained with --fold all")
    parser.add_argument("--dropout", type=Path, help="bundle whose fold 0 was trained with dropout")
    parser.add_argument("--dropout_rate", type=float, default=0.1)
    parser.add_argument("--halves", type=int, default=200, help="random halves of the out-of-fold cases")
    parser.add_argument("--shape", action="store_true", help="also the errors with and without the shape")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    numbers: dict[str, Any] = {"halves": judge_halves(unseen(given.bundle), given.halves)}
    tests, sizes = predict_tests(given.bundle)
    numbers["tests"] = judge_tests(given.bundle, tests, sizes)
    numbers["presence_of_other_cases"] = presence_of_other_cases(tests)
    numbers["spreads"] = {"heatmap": gaussian(tests.points, tests.covariance, tests)}
    members = np.stack([predict_members(given.bundle, [path]).points for path in weight_files(given.bundle)])
    numbers["spreads"]["ensemble"] = gaussian(members.mean(0), covariance_of(members), tests)
    if given.dropout is not None:
        samples, dropout_tests = dropout_samples(given.dropout, given.dropout_rate)
        numbers["spreads"]["mc_dropout"] = gaussian(samples.mean(0), covariance_of(samples), dropout_tests)
    if given.shape:
        numbers["shape"] = shape_effect(given.bundle)
    text = json.dumps(numbers, indent=1)
    print(text)
    if given.out is not None:
        given.out.write_text(text + "\n", encoding="utf-8")
    return 0


def shape_effect(bundle: Path) -> dict[str, Any]:
    """Errors of the validation cases of fold 0 by its own network, with each use of the shape between the stages."""
    ways = {"off": (False, {}), "replaces": (True, {}), "prior": (False, {"shape_prior": True})}
    weights = [bundle / "models" / "fold_0" / "model.pt"]
    out = {}
    for name, (plausibility, settings) in ways.items():
        opened = open_bundle(bundle, weights=weights, plausibility=plausibility, settings=settings)
        items = listed_cases(bundle, 0)
        found = stacked(items, [predict_case(opened, item)[0] for item in items], 0)
        errors = ball_scores(found.points, found.truth)
        known = errors[np.isfinite(errors)]
        out[name] = {
            "mre_mm": float(known.mean()),
            "worst_mm": float(known.max()),
            "beyond_1_mm_percent": float(100 * (known > 1).mean()),
            "replaced": int((found.replaced == 1).sum()),
        }
    return out


def names_of(bundle: Path) -> list[str]:
    """Landmarks in channel order."""
    table = json.loads((bundle / "configs" / "landmarks.json").read_text(encoding="utf-8"))
    return [row["name"] for row in table["landmarks"]]


def unseen(bundle: Path) -> OutOfFold:
    """The out-of-fold predictions that `auto_config calibrate` left."""
    parts = []
    for path in sorted((bundle / "models").glob("fold_*/out_of_fold.json")):
        part = read_out_of_fold(path, names_of(bundle), prediction_digest(bundle, [path.with_name("model.pt")]))
        if part is not None:
            parts.append(part)
    return joined(parts)


def judge_halves(found: OutOfFold, repeats: int) -> dict[str, Any]:
    """Calibrate on a random half of the cases and test on the other: regions of single networks, honest and many."""
    random = np.random.default_rng(0)
    known = np.where(found.status == PRESENT, 1.0, np.nan)
    scores = {
        "ball": ball_scores(found.points, found.truth),
        "ellipsoid": ellipsoid_scores(found.points, found.truth, found.covariance),
        "levelset": -found.density,
    }
    rows: dict[str, Any] = {}
    inside: dict[tuple[str, float], list[float]] = {(kind, level): [] for kind in scores for level in LEVELS}
    expected: dict[float, list[float]] = {level: [] for level in LEVELS}
    for _ in range(repeats):
        order = random.permutation(len(found.cases))
        first, second = order[: len(order) // 2], order[len(order) // 2 :]
        counts = np.nansum(known[first], axis=0).astype(int)
        there = known[second] == 1
        for level in LEVELS:
            promise = np.broadcast_to([exact_coverage(n, level) for n in counts], there.shape)
            expected[level].append(float(promise[there].mean()))
            for kind, values in scores.items():
                bound = quantiles(values[first] * known[first], (level,))[0]
                inside[kind, level].append(float((values[second] <= bound)[there].mean()))
    for level in LEVELS:
        rows[str(level)] = {kind: float(np.mean(inside[kind, level])) for kind in scores}
        rows[str(level)]["exact"] = float(np.mean(expected[level]))
    evidence = evidence_of(found, ("peak", "spread", "mirror"))
    probability, present = cross_fitted(evidence, found.present, found.units), found.present
    judged = ~np.isnan(present)
    rows["presence_auroc"] = auroc(probability[judged], present[judged] == 1)
    return rows


def predict_tests(bundle: Path) -> tuple[OutOfFold, dict[str, np.ndarray]]:
    """Predictions of the test cases by the bundle as it is, and the sizes in mm³ of their level sets at each level."""
    opened = open_bundle(bundle)
    calibration = calibration_of(bundle)
    items, rows, sizes = listed_cases(bundle, None), [], {str(level): [] for level in LEVELS}
    for item in items:
        row, density = predict_case(opened, item)
        rows.append(row)
        affine = embed_affine(opened.preprocess(item["image"])["image"].affine, opened.spatial_dims)
        voxel = abs(np.linalg.det(affine[:-1, :-1]))
        for level in LEVELS:
            bound = calibration.region("levelset", level)
            count = (density.reshape(len(density), -1) >= bound[:, None]).sum(axis=1)
            sizes[str(level)].append(np.where(np.isfinite(bound), count * voxel, np.inf))
    return stacked(items, rows, None), {level: np.stack(rows) for level, rows in sizes.items()}


def predict_members(bundle: Path, weights: list[Path]) -> OutOfFold:
    """Predictions of the test cases by one network."""
    opened = open_bundle(bundle, weights=weights)
    items = listed_cases(bundle, None)
    return stacked(items, [predict_case(opened, item)[0] for item in items], None)


def calibration_of(bundle: Path) -> Calibration:
    """What `auto_config calibrate` wrote."""
    calibration = read_calibration(bundle / "models" / "calibration.json", names_of(bundle))
    if calibration is None:
        raise SystemExit(f"{bundle}: run `auto_config calibrate` first")
    return calibration


def judge_tests(bundle: Path, tests: OutOfFold, sizes: dict[str, np.ndarray]) -> dict[str, Any]:
    """Coverage, sizes and presence on the test cases."""
    calibration, dims = calibration_of(bundle), tests.points.shape[-1]
    there = tests.status == PRESENT
    rows: dict[str, Any] = {"cases": len(tests.cases), "points": int(there.sum())}
    errors = ball_scores(tests.points, tests.truth)
    rows["mre_mm"] = float(np.nanmean(errors))
    for level in LEVELS:
        ball, factor = calibration.region("ball_mm", level), calibration.region("ellipsoid", level)
        inside = {
            "ball": (errors <= ball, np.broadcast_to(ball_volume(ball, dims), errors.shape)),
            "ellipsoid": (
                ellipsoid_scores(tests.points, tests.truth, tests.covariance) <= factor,
                ellipsoid_volume(factor, tests.covariance),
            ),
            "levelset": (tests.density >= calibration.region("levelset", level), sizes[str(level)]),
        }
        rows[str(level)] = {
            kind: vars(coverage(np.where(there, hits, np.nan), np.where(there, volume, np.nan), level))
            for kind, (hits, volume) in inside.items()
        }
    if calibration.presence is not None:
        probability = np.stack([calibration.probability(peaks_of(tests, i)) for i in range(len(tests.cases))])
        known = ~np.isnan(tests.present)
        said, truth = (probability >= np.array(calibration.presence["thresholds"]))[known], there[known]
        rows["presence"] = {
            "present": int(truth.sum()),
            "absent": int((~truth).sum()),
            "auroc": auroc(probability[known], truth),
            "auroc_of_the_peak_alone": auroc(tests.confidence[known], truth),
            "f1_present": f1_score(said, truth),
            "f1_absent": f1_score(~said, ~truth),
            "expected_calibration_error": expected_calibration_error(probability[known], truth),
        }
    return rows


def presence_of_other_cases(found: OutOfFold) -> dict[str, Any]:
    """Presence calibrated on cases that the whole ensemble predicted, cross-fitted, with each set of evidence."""
    everything = presence_features(found)
    without = tuple(name for name in everything if name != "views")
    known = ~np.isnan(found.present)
    truth = found.present[known] == 1
    rows = {}
    for features in (without, everything):
        evidence = evidence_of(found, features)
        probability = cross_fitted(evidence, found.present, found.units)[known]
        said = cross_fitted_decisions(evidence, found.present, units=found.units)[known]
        rows[", ".join(features)] = {
            "auroc": auroc(probability, truth),
            "f1_present": f1_score(said, truth),
            "f1_absent": f1_score(~said, ~truth),
            "expected_calibration_error": expected_calibration_error(probability, truth),
        }
    return {"cases": len(found.cases), "absent": int((~truth).sum()), **rows}


def covariance_of(samples: np.ndarray) -> np.ndarray:
    """Covariance (N, L, D, D) of sampled points (S, N, L, D)."""
    offset = samples - samples.mean(0)
    return np.einsum("snli,snlj->nlij", offset, offset) / (len(samples) - 1)


def gaussian(points: np.ndarray, covariance: np.ndarray, tests: OutOfFold) -> dict[str, Any]:
    """Coverage of ellipsoids that take a spread at its word: as if points were normal with that covariance."""
    there, dims = tests.status == PRESENT, points.shape[-1]
    safe = covariance + 1e-9 * np.eye(dims)
    scores = ellipsoid_scores(points, tests.truth, safe)
    out = {"mre_mm": float(np.nanmean(ball_scores(points, tests.truth)))}
    for level in LEVELS:
        factor = np.sqrt(chi2.ppf(level, dims))
        volume = ellipsoid_volume(factor, safe)
        out[str(level)] = vars(coverage(np.where(there, scores <= factor, np.nan), volume, level))
    return out


def dropout_samples(bundle: Path, rate: float) -> tuple[np.ndarray, OutOfFold]:
    """Points (S, N, L, D) of the test cases with dropout left on, and their truth."""
    opened = open_bundle(bundle, settings={"network_def": with_dropout(bundle, rate)})
    items = listed_cases(bundle, None)
    rows = [predict_case(opened, item)[0] for item in items]
    leave_dropout_on(opened, rate)
    torch.manual_seed(0)
    samples = [[predict_case(opened, item)[0]["points"] for item in items] for _ in range(SAMPLES)]
    return np.array(samples), stacked(items, rows, None)


def with_dropout(bundle: Path, rate: float) -> dict[str, Any]:
    """The bundle's network with dropout in every block of its last stage, which decides on the point."""
    config = json.loads((bundle / "configs" / "inference.json").read_text(encoding="utf-8"))["network_def"]
    list(config["stages"].values())[-1]["dropout"] = rate
    return config


def leave_dropout_on(opened: OpenBundle, rate: float) -> None:
    """Switch the dropout layers, and only these, to training mode."""
    layers = [m for m in opened.network.modules() if isinstance(m, torch.nn.modules.dropout._DropoutNd)]
    if not layers:
        raise SystemExit(f"the network has no dropout of rate {rate}")
    for layer in layers:
        layer.train()


if __name__ == "__main__":
    sys.exit(main())
