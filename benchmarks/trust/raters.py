"""Regions against raters: do they hold the points that several people set, and have they the shape of their spread?

100 cephalograms of ISBI 2015 have five points of eleven raters each (Thaler et al., MELBA 2021:014): a table for each
rater, ``case, x, y, x, y, ...`` in mm, without a header. A bundle that was trained and calibrated on
the mean of two of them predicts those cases that it has not seen. Its ellipsoids are also scaled to the raters of one
half of the cases and judged by the other half, because a region of the mean of two people promises nothing about one.

    auto_config recipe isbi2015 DIR isbi
    auto_config train isbi --time_budget 60m
    python benchmarks/trust/raters.py isbi isbi_data setup_ann/5_landmarks --first 151
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
from rich.progress import track
from scipy.stats import chi2

from auto_config.bundle.opened import open_bundle
from auto_config.bundle_scripts.grid.grids import apply_affine
from auto_config.datasets import read_dataset
from auto_config.datasets.images import read_header

LEVEL = 0.9
POINTS = ("gnathion", "gonion", "orbitale", "upper incisal incision", "subnasale")
"""The five points in the order of the tables."""
DRAWS = 200


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data", type=Path, help="the converted data set, for its images and the size of their pixels")
    parser.add_argument("raters", type=Path, help="folder of tables, one for each rater")
    parser.add_argument("--first", type=int, default=151, help="number of the first case that the bundle has not seen")
    given = parser.parse_args()
    opened = open_bundle(given.bundle, device="cpu", settings={"region_level": LEVEL})
    tables = read_tables(given.raters)
    cases = [one for one in read_dataset(given.data)[0].cases if one.name in tables and int(one.name) >= given.first]
    channels = [opened.names.index(name) for name in POINTS]
    middles, matrices, radii, theirs = [], [], [], []
    for case in track(cases, transient=True):
        items = opened.predict(opened.preprocess(case.image))["result"]["landmarks"]
        header = read_header(case.image, None)
        theirs.append(apply_affine(header.affine, tables[case.name] / np.asarray(header.spacing)))
        middles.append([items[i]["world"] for i in channels])
        matrices.append([items[i]["ellipsoid_mm2"] for i in channels])
        radii.append([items[i]["radius_mm"] for i in channels])
    report(np.array(middles), np.array(matrices), np.array(radii), np.array(theirs))
    return 0


def read_tables(folder: Path) -> dict[str, np.ndarray]:
    """Points (R, P, 2) in mm of each case that all R raters have."""
    raters = []
    for path in sorted(folder.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as stream:
            raters.append({row[0]: np.array(row[1:], dtype=float).reshape(-1, 2) for row in csv.reader(stream) if row})
    shared = set.intersection(*[set(one) for one in raters])
    return {case: np.stack([one[case] for one in raters]) for case in sorted(shared)}


def report(middles: np.ndarray, matrices: np.ndarray, radii: np.ndarray, theirs: np.ndarray) -> None:
    """Print what the regions hold, and how they lie beside the raters' covariances.

    Args:
        middles: (N, P, 2) predicted, mm.
        matrices: (N, P, 2, 2) of the ellipses of 0.9.
        radii: (N, P) of the balls of 0.9, mm.
        theirs: (N, R, P, 2) of the raters.
    """
    offsets = np.swapaxes(theirs, 1, 2) - middles[:, :, None]  # (N, P, R, 2)
    distances = np.linalg.norm(offsets, axis=-1)
    ellipses = mahalanobis(offsets, matrices)
    own = np.swapaxes(theirs, 1, 2)
    spread = np.einsum("npri,nprj->npij", own - own.mean(2, keepdims=True), own - own.mean(2, keepdims=True))
    spread /= own.shape[2] - 1
    apart = angles(matrices, spread)
    areas = np.sqrt(np.linalg.det(matrices)) / (chi2.ppf(LEVEL, 2) * np.sqrt(np.linalg.det(spread)))
    print(f"{len(middles)} cases, {theirs.shape[1]} raters; regions of {LEVEL:g}")
    print("| point | prediction to the raters' mean | rater to it | in the ball | in the ellipse | axes apart | area |")
    print("|---|---|---|---|---|---|---|")
    for number, name in enumerate((*POINTS, "all")):
        part = slice(None) if name == "all" else slice(number, number + 1)
        error = np.linalg.norm(own[:, part].mean(2) - middles[:, part], axis=-1).mean()
        rater = np.linalg.norm(own[:, part] - own[:, part].mean(2, keepdims=True), axis=-1).mean()
        ball = (distances[:, part] <= radii[:, part, None]).mean()
        inside = (ellipses[:, part] <= 1).mean()
        print(
            f"| {name} | {error:.2f} mm | {rater:.2f} mm | {ball:.1%} | {inside:.1%} | "
            f"{np.median(apart[:, part]):.0f} degrees | {np.median(areas[:, part]):.2f} |"
        )
    shares, scaled = [], []
    random = np.random.default_rng(0)
    for _ in range(DRAWS):
        order = random.permutation(len(middles))
        one, other = order[: len(order) // 2], order[len(order) // 2 :]
        factor = np.quantile(ellipses[one], LEVEL, axis=(0, 2))  # (P,)
        shares.append((ellipses[other] <= factor[:, None]).mean())
        scaled.append(np.median(areas[other] * factor))
    low, high = np.quantile(shares, [0.05, 0.95])
    print(
        f"scaled to the raters of one half of the cases, the ellipses hold {np.mean(shares):.1%} of the points of the "
        f"other half ({low:.1%} to {high:.1%} in 90 % of {DRAWS} draws), and have {np.mean(scaled):.2f} times the area "
        "of the raters' own (median)"
    )


def mahalanobis(offsets: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """``x' M^-1 x`` of offsets (N, P, R, 2) in ellipses (N, P, 2, 2)."""
    return np.asarray(np.einsum("npri,npij,nprj->npr", offsets, np.linalg.inv(matrices), offsets))


def angles(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Degrees, 0 to 90, between the long axes of matrices (..., 2, 2)."""
    axes = [np.linalg.eigh(matrix)[1][..., -1] for matrix in (one, other)]
    cosine = np.abs((axes[0] * axes[1]).sum(-1)).clip(0, 1)
    return np.asarray(np.degrees(np.arccos(cosine)))


if __name__ == "__main__":
    sys.exit(main())
