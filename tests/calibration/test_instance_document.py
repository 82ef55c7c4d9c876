"""The calibration of a bundle with an ordinary landmark, an exchangeable pair and one of which there are many."""

import json
from dataclasses import replace

import numpy as np
import pytest

from auto_config.bundle_scripts.inference.calibration import read_calibration
from auto_config.bundle_scripts.points.instances import Instances
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN
from auto_config.calibration.document import calibration_document, peaks_of, presence_features
from auto_config.calibration.instances import detection, detection_lines, with_fixed_names
from auto_config.calibration.out_of_fold import OutOfFold, joined, read_out_of_fold, write_out_of_fold

NAMES = ("tip", "end 1", "end 2", "bud")
KNOWN = Instances(NAMES, (1, 1, 1, 4), (False, False, False, True), ((1, 2),), (0.0, 4.0, 4.0, 5.0), (0.5,) * 4)
ROWS = len(KNOWN.channels)
BUDS = [3, 4, 5, 6]
SHAPES = np.random.default_rng(0).normal(size=(8, 4, 3)) * 10


def made(cases=40, seed=0, fold=0, missed=True):
    """Matched predictions: each image has three candidates for a bud, about two of them true, and an empty row."""
    random = np.random.default_rng(seed)
    shape = (cases, ROWS)
    status = np.where(random.random(shape) < 0.2, ABSENT, PRESENT)
    status[:, 6] = UNKNOWN
    there, empty = status == PRESENT, status == UNKNOWN
    truth = np.where(there[..., None], random.normal(size=(*shape, 3)) * 20, np.nan)
    points = np.nan_to_num(truth) + random.normal(size=(*shape, 3)) * 0.3
    spread = np.where(there, 0.4, 1.5) * random.uniform(0.7, 1.4, shape)
    covariance = (spread**2 / 3)[..., None, None] * np.eye(3)
    points[empty], covariance[empty] = np.nan, np.nan
    mirror = np.where(empty, np.nan, np.where(there, 0.1, 2.0) * random.uniform(0.5, 2, shape))
    lost = np.zeros((cases, 4), dtype=int)
    lost[:, 3] = random.integers(0, 2, cases) if missed else 0
    return OutOfFold(
        cases=tuple(f"case {fold} {i}" for i in range(cases)),
        folds=(fold,) * cases,
        points=points,
        confidence=np.where(
            empty, 0.0, np.clip(np.where(there, 0.9, 0.2) + random.normal(size=shape) * 0.1, 0.06, 0.99)
        ),
        covariance=covariance,
        disagreement=mirror,
        mirror_disagreement=mirror,
        shape_distance=np.full(shape, np.nan),
        replaced=np.zeros(shape),
        truth=truth,
        density=np.where(there & (np.array(KNOWN.channels) != 3), random.uniform(0.001, 0.1, shape), np.nan),
        status=status,
        missed=lost,
    )


def document_of(found, **options):
    return json.loads(
        json.dumps(calibration_document(found, NAMES, SHAPES, instances=KNOWN, **options), allow_nan=False)
    )


def test_regions_of_many_are_those_of_all_their_found_instances():
    found = made()
    document = document_of(found)
    errors = np.linalg.norm(found.points - found.truth, axis=-1)
    there = found.status == PRESENT
    for landmark, rows in enumerate([[0], [1], [2], BUDS]):
        known = np.sort(errors[:, rows][there[:, rows]])
        assert document["regions"]["count"][landmark] == len(known)
        for level, bounds in zip(document["levels"], document["regions"]["ball_mm"], strict=True):
            assert bounds[landmark] == known[int(np.ceil(level * (len(known) + 1) - 1e-9)) - 1]
    assert document["match_mm"] == {"bud": 5.0}


@pytest.mark.parametrize("pooled", [False, True])
def test_many_have_no_level_sets(pooled):
    document = document_of(made(), pooled=pooled)
    assert [row[3] for row in document["regions"]["levelset"]] == [None] * 4
    assert None not in [bound for row in document["regions"]["levelset"] for bound in row[:3]]


def test_the_file_says_what_the_promises_mean():
    notes = " ".join(document_of(made())["notes"])
    assert "end 1 and end 2 may change places" in notes
    assert "of bud an image has any number: regions hold for an instance that is found, drawn at random" in notes
    assert "never above match_mm" in notes and "depend on each other" in notes


def test_invented_instances_are_no_absent_landmarks():
    found = made()
    status = found.status.copy()
    status[:, :3] = PRESENT
    status[0, 0] = ABSENT
    document = document_of(replace(found, status=status))
    assert document["presence"]["absent"] > 10
    assert "only 1 absent landmarks: the probabilities of presence are rough" in document["notes"]


def test_prediction_applies_what_was_learned_to_rows(tmp_path):
    found = made()
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(document_of(found)))
    calibration = read_calibration(path, NAMES)
    assert calibration.match_mm == {"bud": 5.0} and calibration.summary()["match_mm"] == {"bud": 5.0}
    section = calibration.presence
    assert section["features"] == ["peak", "spread", "mirror"]
    assert len(section["offsets"]) == len(section["thresholds"]) == 4
    said = np.stack([calibration.probability(peaks_of(found, i), KNOWN.channels) for i in range(len(found.cases))])
    known = found.status != UNKNOWN
    np.testing.assert_array_equal(np.isfinite(said), known)
    present = np.stack([calibration.present(row, KNOWN.channels) for row in said])
    assert (present == (found.status == PRESENT))[known].mean() > 0.97
    assert np.isneginf(calibration.region("levelset", 0.9)[3])


def test_order_and_number_say_nothing_of_the_shape():
    fixed = with_fixed_names(SHAPES, KNOWN)
    np.testing.assert_array_equal(fixed[:, 0], SHAPES[:, 0])
    assert np.isnan(fixed[:, 1:]).all()
    alone = Instances.single(NAMES)
    np.testing.assert_array_equal(with_fixed_names(SHAPES, alone), SHAPES)


def test_detection_by_hand():
    found = made(cases=2)
    status = np.full((2, ROWS), UNKNOWN)
    status[0, BUDS] = [PRESENT, PRESENT, ABSENT, UNKNOWN]
    status[1, BUDS] = [ABSENT, UNKNOWN, UNKNOWN, UNKNOWN]
    found = replace(found, status=status, missed=np.array([[0, 0, 0, 0], [0, 0, 0, 2]]))
    decided = np.zeros((2, ROWS), dtype=bool)
    decided[0, [3, 5]] = decided[1, 3] = True
    decided[0, 6] = True  # an empty row counts nowhere
    assert detection(decided, found, KNOWN) == {"bud": {"found": 1, "missed": 3, "invented": 2, "f1": 2 / 7}}


def test_detection_is_in_the_file_of_a_bundle_with_many():
    found = document_of(made())["presence"]["detection"]["bud"]
    assert found["f1"] > 0.8 and found["missed"] > 5
    assert detection_lines({"bud": {"found": 3, "missed": 1, "invented": 2, "f1": 2 / 3}}) == [
        "bud: 3 of 4 instances found, 2 invented, F1 0.667"
    ]


def test_invented_instances_do_not_make_a_landmark_absent():
    found = made()
    status = found.status.copy()
    status[:, :3] = PRESENT
    found = replace(found, status=status, truth=np.where(np.isnan(found.truth), 0.0, found.truth))
    section = document_of(found)["presence"]
    assert section["thresholds"][:3] == [0.0] * 3 and section["thresholds"][3] > 0


def test_without_invented_instances_the_training_has_the_word():
    found = made()
    found = replace(found, status=np.where(found.status == ABSENT, UNKNOWN, found.status))
    document = document_of(found)
    assert document["presence"] is None
    assert any("an instance from the confidence on that the training chose" in note for note in document["notes"])


def test_candidates_without_a_mirror_image_of_theirs_leave_the_evidence_out():
    found = made()
    assert presence_features(found) == ("peak", "spread", "mirror")
    mirror = found.mirror_disagreement.copy()
    mirror[0, 3] = np.nan
    assert presence_features(replace(found, mirror_disagreement=mirror)) == ("peak", "spread")


def test_missed_points_are_kept_with_the_predictions(tmp_path):
    found, path = made(), tmp_path / "out_of_fold.json"
    write_out_of_fold(path, found, NAMES, "weights")
    again = read_out_of_fold(path, NAMES, "weights")
    np.testing.assert_array_equal(again.missed, found.missed)
    np.testing.assert_array_equal(np.isnan(again.points), np.isnan(found.points))
    none = made(fold=1, missed=False)
    write_out_of_fold(path, none, NAMES, "weights")
    assert "missed" not in path.read_text()
    both = joined([found, read_out_of_fold(path, NAMES, "weights")])
    np.testing.assert_array_equal(both.missed, np.concatenate([found.missed, np.zeros((40, 4))]))
