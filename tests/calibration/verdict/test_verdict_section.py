"""The verdicts of a calibration: on simulated predictions, each wrong in its own way."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from auto_config.bundle_scripts.inference.calibration import shape_document
from auto_config.bundle_scripts.inference.verdict.columns import QUANTILES
from auto_config.bundle_scripts.inference.verdict.image import ImageNumbers
from auto_config.bundle_scripts.inference.verdict.judging import judge
from auto_config.bundle_scripts.inference.verdict.known import read_known_cases
from auto_config.bundle_scripts.inference.verdict.scores import case_scores
from auto_config.bundle_scripts.points.instances import Instances
from auto_config.bundle_scripts.points.landmarks import PRESENT
from auto_config.bundle_scripts.points.peaks import make_peaks
from auto_config.bundle_scripts.points.shape import ShapeModel
from auto_config.calibration.document import peaks_of
from auto_config.calibration.out_of_fold import OutOfFold, joined, read_out_of_fold, write_out_of_fold
from auto_config.calibration.verdict.section import Spoiled, case_errors, verdict_section

LANDMARKS = 20
NAMES = [f"p{i}" for i in range(LANDMARKS)]
KNOWN = Instances.single(NAMES)
MEAN = np.random.default_rng(0).uniform(-20, 20, (LANDMARKS, 3))
AFFINE = np.diag([1.0, 1, 1, 1])
AFFINE[:3, 3] = -40
RANGES = {name: {"low": [low] * 3, "high": [high] * 3} for name, low, high in (("spacing", 1, 1), ("extent", 75, 85))}


def shapes(cases, seed=1):
    random = np.random.default_rng(seed)
    return MEAN * random.uniform(0.95, 1.05, (cases, 1, 1)) + random.normal(0, 0.5, (cases, LANDMARKS, 3))


def predicted(truth, random, *, error=0.2, mirror=0.1, confidence=0.95, grey=0.0, points=None, fold=None):
    """Predictions that are off by an error; the views of the network disagree as much."""
    cases = len(truth)
    off = random.normal(0, error / np.sqrt(3), truth.shape)
    image = ImageNumbers(AFFINE, np.array([81] * 3), np.array([80.0] * 3), 1.0, np.zeros((1, len(QUANTILES))))
    greys = grey + np.arange(len(QUANTILES)) + random.normal(0, 0.2, (cases, 1, len(QUANTILES)))
    logit = np.log(confidence / (1 - confidence)) + random.normal(0, 0.3, (cases, LANDMARKS))
    return OutOfFold(
        cases=tuple(f"c{fold} {i}" for i in range(cases)),
        folds=() if fold is None else (fold,) * cases,
        points=truth + off if points is None else points,
        confidence=1 / (1 + np.exp(-logit)),
        covariance=np.tile(np.eye(3) / 3, (cases, LANDMARKS, 1, 1)) * random.uniform(0.9, 1.1, (cases, 1, 1, 1)),
        disagreement=np.full((cases, LANDMARKS), np.nan),
        mirror_disagreement=mirror * random.lognormal(0, 0.3, (cases, LANDMARKS)),
        shape_distance=np.full((cases, LANDMARKS), np.nan),
        replaced=np.zeros((cases, LANDMARKS)),
        truth=truth,
        density=np.full((cases, LANDMARKS), np.nan),
        status=np.full((cases, LANDMARKS), PRESENT),
        images=np.stack([replace(image, greys=one).pack() for one in greys]),
    )


def spoiled(random, cases=6):
    """Points anywhere, which nothing in the training shapes looks like."""
    truth = shapes(cases, seed=9)
    anywhere = random.uniform(-30, 30, truth.shape)
    return Spoiled(("blocks shuffled",) * cases, predicted(truth, random, mirror=3.0, confidence=0.5, points=anywhere))


def calibrated(tmp_path, cases=40, *, folds=True, **options):
    """What a bundle knows after a calibration on good cases, as it is read from its files."""
    random = np.random.default_rng(2)
    truth = shapes(cases)
    parts = [predicted(truth[k::4], random, fold=k if folds else None) for k in range(4)]
    found = joined(parts)
    section = verdict_section(
        found, None, truth, instances=KNOWN, offsets=MEAN, ranges=RANGES, spoiled=spoiled(random), **options
    )
    model = ShapeModel(LANDMARKS, 3)
    model.fit(truth)
    calibration, training = tmp_path / "calibration.json", tmp_path / "verdict.json"
    document = {"landmarks": NAMES, "shape": shape_document(model), "verdict": section}
    calibration.write_text(json.dumps(document, allow_nan=False))
    training.write_text(json.dumps({"landmarks": NAMES, "ranges": RANGES, "shape": None, "reference": None}))
    return read_known_cases(training, calibration, NAMES), section


def verdicts(known, found):
    return [
        judge(
            case_scores(
                peaks_of(found, i),
                np.ones(LANDMARKS, dtype=bool),
                ImageNumbers.unpack(found.images[i], 3),
                instances=KNOWN,
                shape=known.shape,
                ranges=known.ranges,
            ),
            known.reference,
        )
        for i in range(len(found.cases))
    ]


def words(found):
    return [one.verdict for one in found]


@pytest.mark.parametrize(("cases", "folds"), [(40, True), (40, False), (8, True)])
def test_good_cases_are_ok_and_bad_ones_are_not(tmp_path, cases, folds):
    known, section = calibrated(tmp_path, cases, folds=folds)
    random, truth = np.random.default_rng(5), shapes(60, seed=7)
    assert words(verdicts(known, predicted(truth, random))).count("ok") >= 54
    some = truth[:5]
    # Points that fit nothing.
    assert set(words(verdicts(known, spoiled(random).found))) == {"failed"}
    # The anatomy turned by 60 degrees, found well.
    turn = np.array([[0.5, -np.sqrt(0.75), 0], [np.sqrt(0.75), 0.5, 0], [0, 0, 1]])
    found = verdicts(known, predicted(some @ turn.T, random))
    assert "ok" not in words(found) and all("turned by" in " ".join(one.reasons) for one in found)
    # Views that disagree by far more than ever.
    found = verdicts(known, predicted(some, random, mirror=0.8))
    assert "ok" not in words(found) and all("mirror image disagree" in one.reasons[0] for one in found)
    # Other grey values, with points as good as ever.
    found = verdicts(known, predicted(some, random, grey=9.0))
    assert set(words(found)) == {"check"} and all("grey values" in one.reasons[0] for one in found)
    # Low confidence.
    assert "ok" not in words(verdicts(known, predicted(some, random, confidence=0.2)))
    assert section["spoilings"] == {"blocks shuffled": {"failed": 6}}


def test_the_limit_is_exact_or_says_what_it_rests_on(tmp_path):
    _, many = calibrated(tmp_path, 40)
    assert many["cases"] == 40 and "conformal" in many["promise"] and many["rate"] == 0.05
    _, few = calibrated(tmp_path, 8)
    assert "normally distributed" in few["promise"] and "1 in 9" in few["promise"]
    assert many["check"] < many["failed"] and few["check"] < few["failed"]


def test_a_case_that_went_wrong_is_no_part_of_what_is_usual(tmp_path):
    random, truth = np.random.default_rng(3), shapes(20)
    good = predicted(truth[:19], random, fold=0)
    bad = predicted(truth[19:], random, mirror=5.0, points=random.uniform(-30, 30, (1, LANDMARKS, 3)), fold=1)
    every = np.concatenate([truth, shapes(9, seed=4)])
    section = verdict_section(joined([good, bad]), None, every, instances=KNOWN, offsets=MEAN, ranges=RANGES)
    assert (section["cases"], section["went_wrong"]) == (19, 1) and section["fits"]
    alone = verdict_section(good, None, every, instances=KNOWN, offsets=MEAN, ranges=RANGES)
    assert section["columns"]["mirror"] == pytest.approx(alone["columns"]["mirror"])


def test_validation_cases_are_judged_by_the_shape_of_the_others():
    random = np.random.default_rng(3)
    truth = shapes(6)
    found = joined([predicted(truth[k::3], random, error=1e-9, fold=k) for k in range(3)])
    # The order of the parts, not that of the shapes, and points that were kept with eight digits.
    kept = replace(found, truth=np.round(found.truth, 7))
    section = verdict_section(kept, None, truth, instances=KNOWN, offsets=MEAN, ranges=RANGES)
    unseen = verdict_section(replace(kept, folds=()), None, truth, instances=KNOWN, offsets=MEAN, ranges=RANGES)
    # A shape that was no part of the mean lies farther from it, by about (1 + 1 / 4) / (1 - 1 / 6) squared.
    ratio = np.exp(section["columns"]["shape"]["mean"] - unseen["columns"]["shape"]["mean"])
    assert 1.1 < ratio < 1.4


def test_nothing_is_said_without_images_or_with_too_few_cases():
    random, truth = np.random.default_rng(3), shapes(4)
    found = predicted(truth, random)
    assert verdict_section(replace(found, images=np.zeros((0, 0))), None, truth, instances=KNOWN) is None
    assert verdict_section(predicted(truth[:2], random), None, truth, instances=KNOWN) is None
    section = verdict_section(found, None, truth[:0], instances=KNOWN)
    assert "shape" not in section["columns"] and "spacing" not in section["columns"] and not section["fits"]


def test_spoiled_cases_whose_points_are_right_place_no_limit(tmp_path):
    random, truth = np.random.default_rng(4), shapes(8, seed=5)
    harmless = Spoiled(("heavy noise",) * 8, predicted(truth, random, error=0.05))
    found = joined([predicted(shapes(8), random)])
    section = verdict_section(found, None, shapes(8), instances=KNOWN, offsets=MEAN, spoiled=harmless)
    assert list(section["spoilings"]) == ["heavy noise, harmless"]
    assert section["failed"] == pytest.approx(2 * section["check"])


def test_numbers_of_images_are_kept_with_predictions(tmp_path):
    found = predicted(shapes(3), np.random.default_rng(0), fold=1)
    path = tmp_path / "out_of_fold.json"
    write_out_of_fold(path, found, NAMES, "weights")
    again = read_out_of_fold(path, NAMES, "weights")
    np.testing.assert_allclose(again.images, found.images, rtol=1e-7)
    assert joined([again, again]).images.shape == (6, found.images.shape[1])
    # Kept by an earlier version.
    write_out_of_fold(path, replace(found, images=np.zeros((0, 0))), NAMES, "weights")
    earlier = read_out_of_fold(path, NAMES, "weights")
    assert not earlier.images.size and not joined([earlier, again]).images.size


def test_the_mean_error_of_a_case_is_over_its_present_landmarks():
    found = predicted(shapes(2), np.random.default_rng(0))
    points = found.truth.copy()
    points[0, :2] += [[3.0, 0, 0], [0, 5.0, 0]]
    status = found.status.copy()
    status[1] = -1
    errors = case_errors(replace(found, points=points, status=status), KNOWN)
    assert errors[0] == pytest.approx(8 / LANDMARKS) and np.isnan(errors[1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda document: document["verdict"].pop("check"), "cannot be used"),
        (lambda document: document["verdict"].update(columns=[]), "cannot be used"),
        (lambda document: document.update(landmarks=["other"]), "other landmarks"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, change, said):
    calibrated(tmp_path, 8)
    path = tmp_path / "calibration.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=said) as raised:
        read_known_cases(tmp_path / "verdict.json", path, NAMES)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_files_that_are_not_there_know_nothing(tmp_path):
    known = read_known_cases(tmp_path / "verdict.json", tmp_path / "calibration.json", NAMES)
    assert known.reference is None and known.shape is None and known.ranges is None


def test_peaks_of_networks_that_disagree_are_unusual_only_where_that_is_known():
    peaks = make_peaks(
        torch.from_numpy(MEAN),
        torch.full((LANDMARKS,), 0.9),
        torch.eye(3).repeat(LANDMARKS, 1, 1),
        disagreement=torch.full((LANDMARKS,), 2.0),
        mirror_disagreement=torch.full((LANDMARKS,), 0.1),
    )
    image = ImageNumbers.unpack(predicted(shapes(1), np.random.default_rng(0)).images[0], 3)
    found = case_scores(peaks, np.ones(LANDMARKS, dtype=bool), image, instances=KNOWN, shape=None)
    assert found.values["views"] == pytest.approx(np.log(2.0001)) and not found.too_few
