"""How many planted label errors `review` finds and names: precision, recall and F1 of ten kinds.

``python benchmarks/trust/label_errors.py DATA_SET --no_model`` judges from the points alone, in seconds.
``python benchmarks/trust/label_errors.py DATA_SET --predictions BUNDLE_OR_FOLDER`` uses what networks predicted: the
kept predictions of unseen cases of a trained bundle, or the folder of a `predict` run on the images of DATA_SET.
``--simulated 0.15`` uses the labels themselves with normal errors of so many mm on each axis, 2 % of them ten times
larger, instead of predictions: what the rules could do with such a network.

Each draw plants every kind once, each in a case of its own, into the otherwise untouched data set. A finding is right
where case and kind are those planted, and one of its landmarks was changed. All else that is named is a false alarm.
A last line counts what is named in the untouched data set. Networks that were trained on the planted errors would
have learnt some of them; here they saw the correct labels of the other cases.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from auto_config.bundle_scripts.grid.grids import world_to_voxel
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT
from auto_config.datasets import read_dataset
from auto_config.review.cohort import Cohort, Finding
from auto_config.review.kinds import KINDS
from auto_config.review.label_errors import FALSE_ALARMS, find_label_errors
from auto_config.review.sources import dataset_cohort, with_bundle_predictions, with_predictions


@dataclass(frozen=True)
class Planted:
    """An error that was put into a case: its kind and the landmarks that were changed."""

    case: int
    kind: str
    landmarks: frozenset[int]


def _scale(cohort: Cohort, row: int) -> float:
    """Root mean square distance of the points of a case from their middle."""
    points = cohort.labels[row][np.isfinite(cohort.labels[row]).all(-1)]
    return float(np.sqrt(((points - points.mean(0)) ** 2).sum(-1).mean()))


def _known(cohort: Cohort, row: int) -> np.ndarray:
    return np.flatnonzero(np.isfinite(cohort.labels[row]).all(-1))


def _shift(cohort: Cohort, row: int, rng: np.random.Generator) -> tuple[np.ndarray, list[int]]:
    """One point, by 15 to 60 % of the size of the shape in any direction."""
    labels, landmark = cohort.labels[row].copy(), int(rng.choice(_known(cohort, row)))
    direction = rng.normal(size=labels.shape[1])
    labels[landmark] += rng.uniform(0.15, 0.6) * _scale(cohort, row) * direction / np.linalg.norm(direction)
    return labels, [landmark]


def _swap(cohort: Cohort, row: int, rng: np.random.Generator) -> tuple[np.ndarray, list[int]]:
    """A point and one of its three nearest neighbours that is not its partner in the mirror."""
    labels, first = cohort.labels[row].copy(), int(rng.choice(_known(cohort, row)))
    order = np.argsort(np.nan_to_num(np.linalg.norm(labels - labels[first], axis=1), nan=np.inf))
    mirror = {frozenset(pair) for pair in cohort.pairs}
    near = [int(one) for one in order[1:6] if frozenset((first, int(one))) not in mirror][:3]
    second = int(rng.choice(near))
    labels[[first, second]] = labels[[second, first]]
    return labels, [first, second]


def _left_right(cohort: Cohort, row: int, rng: np.random.Generator) -> tuple[np.ndarray, list[int]]:
    """One left-right pair, or all of them."""
    labels = cohort.labels[row].copy()
    pairs = np.array(cohort.pairs)
    if rng.random() < 0.5:
        pairs = pairs[[rng.integers(len(pairs))]]
    labels[pairs[:, 0]], labels[pairs[:, 1]] = cohort.labels[row][pairs[:, 1]], cohort.labels[row][pairs[:, 0]]
    return labels, pairs.ravel().tolist()


def _order(cohort: Cohort, row: int, rng: np.random.Generator) -> tuple[np.ndarray, list[int]]:
    """The list moved on by one to five, reversed, or shuffled."""
    count = len(cohort.names)
    orders = (np.roll(np.arange(count), rng.integers(1, 6)), np.arange(count)[::-1], rng.permutation(count))
    return cohort.labels[row][orders[rng.integers(3)]], list(range(count))


def _duplicate(cohort: Cohort, row: int, rng: np.random.Generator) -> tuple[np.ndarray, list[int]]:
    """A point put on another one."""
    labels = cohort.labels[row].copy()
    first, second = rng.choice(_known(cohort, row), 2, replace=False)
    labels[first] = labels[second]
    return labels, [int(first)]


def _wrong_scan(cohort: Cohort, row: int, rng: np.random.Generator) -> tuple[np.ndarray, list[int]]:
    """The points of another case."""
    other = rng.choice(np.delete(np.arange(len(cohort.cases)), row))
    return cohort.labels[other].copy(), list(range(len(cohort.names)))


def _mirrored(cohort: Cohort, row: int, rng: np.random.Generator) -> tuple[np.ndarray, list[int]]:
    """The sign of x turned about the middle of the image or the origin; names stay."""
    labels = cohort.labels[row].copy()
    middle = cohort.centers[row, 0] if rng.random() < 0.5 else 0.0
    labels[:, 0] = 2 * np.nan_to_num(middle) - labels[:, 0]
    return labels, list(range(len(cohort.names)))


def _unit(cohort: Cohort, row: int, rng: np.random.Generator) -> tuple[np.ndarray, list[int]]:
    """Centimetres, metres, inches, or voxels of the image."""
    factor = rng.choice([0.1, 0.001, 1 / 25.4, 0.0])
    affine = cohort.affines[row]
    if factor:
        return cohort.labels[row] * factor, list(range(len(cohort.names)))
    assert affine is not None
    return world_to_voxel(affine, cohort.labels[row]), list(range(len(cohort.names)))


def _frame(cohort: Cohort, row: int, rng: np.random.Generator) -> tuple[np.ndarray, list[int]]:
    """RAS for LPS (3D) or y upwards (2D), or all points moved by 0.8 to 3 sizes of the shape."""
    labels = cohort.labels[row].copy()
    if rng.random() < 0.5:
        labels[:, : 2 if labels.shape[1] == 3 else 0] *= -1
        if labels.shape[1] == 2:
            labels[:, 1] = 2 * cohort.centers[row, 1] - labels[:, 1]
    else:
        direction = rng.normal(size=labels.shape[1])
        labels += rng.uniform(0.8, 3) * _scale(cohort, row) * direction / np.linalg.norm(direction)
    return labels, list(range(len(cohort.names)))


PLANTS: dict[str, Callable[[Cohort, int, np.random.Generator], tuple[np.ndarray, list[int]]]] = {
    "shift": _shift,
    "swap": _swap,
    "left_right": _left_right,
    "order": _order,
    "duplicate": _duplicate,
    "wrong_scan": _wrong_scan,
    "mirrored": _mirrored,
    "unit": _unit,
    "frame": _frame,
}


def plant(cohort: Cohort, kind: str, row: int, rng: np.random.Generator) -> tuple[Cohort, Planted]:
    """The cohort with an error of a kind in a case."""
    labels, status = cohort.labels.copy(), cohort.status.copy()
    if kind == "forgotten":
        landmark = int(rng.choice(_known(cohort, row)))
        labels[row, landmark], status[row, landmark] = np.nan, ABSENT
        return cohort.with_labels(labels, status), Planted(row, kind, frozenset([landmark]))
    labels[row], changed = PLANTS[kind](cohort, row, rng)
    status[row] = np.where(np.isfinite(labels[row]).all(-1), PRESENT, status[row])
    return cohort.with_labels(labels, status), Planted(row, kind, frozenset(changed))


def is_right(finding: Finding, planted: Planted) -> bool:
    """Whether a finding names what was planted."""
    same = finding.case == planted.case and finding.kind == planted.kind
    return same and (not finding.landmarks or bool(planted.landmarks & set(finding.landmarks)))


def simulated(cohort: Cohort, sigma: float, rng: np.random.Generator) -> Cohort:
    """The cohort with predictions that are the labels with errors."""
    size = np.where(rng.random(cohort.status.shape) < 0.02, 10 * sigma, sigma)[..., None]
    predicted = cohort.labels + size * rng.normal(size=cohort.labels.shape)
    confidence = np.clip(rng.normal(0.97, 0.02, cohort.status.shape), 0, 1)
    basis = ("unseen",) * len(cohort.cases)
    return replace(cohort, predicted=predicted, confidence=confidence, basis=basis)


def run(cohort: Cohort, draws: int, false_alarms: float, seed: int) -> list[tuple[str, int, int, int, int]]:
    """For each kind: planted, found and named, found under another name, false alarms of that kind."""
    rng = np.random.default_rng(seed)
    kinds = [kind for kind in KINDS if kind != "left_right" or cohort.pairs]
    counts = {kind: [0, 0, 0, 0] for kind in kinds}
    # Cases without any prediction cannot be judged by one.
    able = np.flatnonzero(np.isfinite(cohort.predicted).all(-1).any(1))
    able = able if able.size else np.arange(len(cohort.cases))
    if able.size < len(kinds):
        raise SystemExit(f"{able.size} cases can be judged, {len(kinds)} are needed")
    for _ in range(draws):
        changed, planted = cohort, []
        original = cohort
        for kind, row in zip(kinds, rng.permutation(able)[: len(kinds)], strict=True):
            one, what = plant(original, kind, int(row), rng)
            labels, status = changed.labels.copy(), changed.status.copy()
            labels[row], status[row] = one.labels[row], one.status[row]
            changed, planted = changed.with_labels(labels, status), [*planted, what]
        found = find_label_errors(changed, false_alarms)
        for what in planted:
            counts[what.kind][0] += 1
            counts[what.kind][1] += any(is_right(one, what) for one in found)
            counts[what.kind][2] += any(one.case == what.case for one in found)
        for one in found:
            counts.setdefault(one.kind, [0, 0, 0, 0])[3] += not any(is_right(one, what) for what in planted)
    return [(kind, *row) for kind, row in counts.items()]  # type: ignore[misc]


def f1(planted: int, right: int, wrong: int) -> tuple[float, float, float]:
    """Precision, recall and F1."""
    precision = right / max(right + wrong, 1)
    recall = right / max(planted, 1)
    return precision, recall, 2 * precision * recall / max(precision + recall, 1e-12)


def main() -> None:
    """Print the tables of docs/review.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    evidence = parser.add_mutually_exclusive_group(required=True)
    evidence.add_argument("--no_model", action="store_true", help="from the points alone")
    evidence.add_argument("--predictions", help="a trained bundle, or the folder of a `predict` run")
    evidence.add_argument("--simulated", type=float, help="mm of simulated prediction errors")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--false_alarms", type=float, default=FALSE_ALARMS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    dataset, _ = read_dataset(options.source)
    cohort = dataset_cohort(dataset)
    if options.simulated is not None:
        cohort = simulated(cohort, options.simulated, np.random.default_rng(options.seed + 1))
    if options.predictions is not None:
        given = Path(options.predictions)
        is_bundle = (given / "configs").is_dir()
        cohort = with_bundle_predictions(cohort, given)[0] if is_bundle else with_predictions(cohort, given)
    judged = int(np.isfinite(cohort.predicted).all(-1).any(1).sum())
    print(f"{len(cohort.cases)} cases, {len(cohort.names)} landmarks, {len(cohort.pairs)} left-right pairs")
    print(f"{judged} cases with predictions, {options.draws} draws of each kind, seed {options.seed}")
    rows = run(cohort, options.draws, options.false_alarms, options.seed)
    print(f"{'kind':<12}{'planted':>8}{'named':>7}{'found':>7}{'false':>7}{'precision':>11}{'recall':>8}{'F1':>7}")
    for kind, planted, right, found, wrong in [*rows, ("all", *np.sum([row[1:] for row in rows], axis=0).tolist())]:
        numbers = f1(planted, right, wrong)
        print(
            f"{kind:<12}{planted:>8}{right:>7}{found:>7}{wrong:>7}{numbers[0]:>11.3f}{numbers[1]:>8.3f}{numbers[2]:>7.3f}"
        )
    untouched = find_label_errors(cohort, options.false_alarms)
    print(f"untouched: {len(untouched)} named of {int((cohort.status == PRESENT).sum())} labels")
    for one in untouched:
        names = ", ".join(cohort.names[landmark] for landmark in one.landmarks) or "all points"
        print(
            f"  {cohort.cases[one.case]}: {names}: {KINDS[one.kind].title}, {one.distance:.2f}, score {one.score:.2f}"
        )


if __name__ == "__main__":
    main()
