"""The content of calibration.json, and that prediction reads it as it was meant."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from auto_config.bundle_scripts.inference.calibration import evidence, read_calibration
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN
from auto_config.bundle_scripts.points.peaks import Peaks
from auto_config.calibration.document import calibration_document, evidence_of, peaks_of, presence_features
from auto_config.calibration.out_of_fold import (
    OutOfFold,
    is_of_these_labels,
    joined,
    read_out_of_fold,
    write_out_of_fold,
)

NAMES = ["a", "b", "c"]
SHAPES = np.full((4, 3, 3), np.nan)


def made(cases=25, seed=0, absent=0.2, fold=0, views=True):
    """Predictions that are off by about 0.5 mm; heatmaps of absent landmarks are low and wide."""
    random = np.random.default_rng(seed)
    shape = (cases, len(NAMES))
    status = np.where(random.random(shape) < absent, ABSENT, PRESENT)
    status[0, 0] = UNKNOWN
    there = status == PRESENT
    truth = np.where(there[..., None], random.normal(size=(*shape, 3)) * 20, np.nan)
    points = np.nan_to_num(truth) + random.normal(size=(*shape, 3)) * 0.3
    spread = np.where(there, 0.4, 1.5) * random.uniform(0.7, 1.4, shape)
    return OutOfFold(
        cases=tuple(f"case {fold} {i}" for i in range(cases)),
        folds=(fold,) * cases,
        points=points,
        confidence=np.clip(np.where(there, 0.9, 0.2) + random.normal(size=shape) * 0.1, 0.001, 0.999),
        covariance=(spread**2 / 3)[..., None, None] * np.eye(3),
        disagreement=np.full(shape, 0.3),
        mirror_disagreement=np.where(there, 0.1, 2.0) * random.uniform(0.5, 2, shape)
        if views
        else np.full(shape, np.nan),
        shape_distance=np.full(shape, np.nan),
        replaced=np.zeros(shape),
        truth=truth,
        density=np.where(there, random.uniform(0.001, 0.1, shape), np.nan),
        status=status,
    )


def test_prediction_reads_what_calibration_wrote(tmp_path):
    found = made()
    document = calibration_document(found, NAMES, SHAPES)
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(document, allow_nan=False))
    calibration = read_calibration(path, NAMES)
    radii = calibration.region("ball_mm", 0.9)
    errors = np.linalg.norm(found.points - found.truth, axis=-1)
    for i in range(3):
        known = np.sort(errors[found.status[:, i] == PRESENT, i])
        assert radii[i] == known[int(np.ceil(0.9 * (len(known) + 1))) - 1]
    said = np.stack([calibration.present(calibration.probability(peaks_of(found, i))) for i in range(25)])
    known = found.status != UNKNOWN
    assert (said == (found.status == PRESENT))[known].mean() > 0.97


def test_infinite_regions_are_null_in_the_file_and_infinite_in_use(tmp_path):
    found = made(cases=15, absent=0.0)
    document = calibration_document(found, NAMES, SHAPES)
    assert document["regions"]["count"] == [14, 15, 15]
    assert document["regions"]["ball_mm"][3] == document["regions"]["levelset"][3] == [None] * 3
    assert None not in document["regions"]["ball_mm"][2]
    assert any("level 0.95: 3 of 3 landmarks have fewer than 19" in note for note in document["notes"])
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(document, allow_nan=False))
    calibration = read_calibration(path, NAMES)
    assert np.isposinf(calibration.region("ball_mm", 0.95)).all()
    assert np.isneginf(calibration.region("levelset", 0.95)).all()
    with pytest.raises(ValueError, match=r"region level is 0.85; allowed are 0.5, 0.8, 0.9, 0.95"):
        calibration.region("ball_mm", 0.85)


def test_pooled_regions_need_fewer_cases():
    document = calibration_document(made(cases=15, absent=0.0), NAMES, SHAPES, pooled=True)
    assert len({*document["regions"]["ball_mm"][3]}) == 1 and None not in document["regions"]["ball_mm"][3]
    assert not any("infinite" in note for note in document["notes"])


def test_cases_of_one_patient_are_told():
    found = made(cases=20)
    several = replace(found, groups=tuple(f"patient {i // 2}" for i in range(10)) + (None,) * 10)
    told = [note for note in calibration_document(several, NAMES, SHAPES)["notes"] if "patients" in note]
    assert len(told) == 1 and told[0].startswith("20 cases are of 15 groups (patients)")
    alone = replace(found, groups=tuple(f"patient {i}" for i in range(20)))
    for each in (found, alone):
        assert not any("patients" in note for note in calibration_document(each, NAMES, SHAPES)["notes"])


def test_without_absent_landmarks_presence_is_not_judged():
    document = calibration_document(made(absent=0.0), NAMES, SHAPES)
    assert document["presence"] is None
    assert any("every landmark counts as present" in note for note in document["notes"])


def test_the_file_says_how_few_cases_there_are():
    document = calibration_document(made(cases=6, seed=3), NAMES, SHAPES)
    assert any("only fold 0 was trained: its 6 validation cases" in note for note in document["notes"])
    assert any("the probabilities of presence are rough" in note for note in document["notes"])


def test_folds_are_joined_and_their_ensemble_is_spoken_of():
    both = joined([made(fold=0), made(fold=1, seed=1)])
    document = calibration_document(both, NAMES, SHAPES, ensemble=True)
    assert (document["cases"], document["folds"]) == (50, [0, 1])
    assert any("rather too large than too small" in note for note in document["notes"])
    assert document["presence"]["features"] == ["peak", "spread", "mirror"]
    assert calibration_document(made(views=False), NAMES, SHAPES)["presence"]["features"] == ["peak", "spread"]


def test_a_high_cost_of_false_landmarks_makes_fewer_of_them():
    found = made(cases=40, absent=0.4, seed=5)
    rows = [calibration_document(found, NAMES, SHAPES, cost=cost)["presence"]["thresholds"][0] for cost in (0.25, 1, 9)]
    assert rows == [0.2, 0.5, 0.9]


def test_out_of_fold_predictions_are_read_as_they_were_written(tmp_path):
    found, path = made(), tmp_path / "out_of_fold.json"
    write_out_of_fold(path, found, NAMES, "weights")
    again = read_out_of_fold(path, NAMES, "weights")
    assert (again.cases, again.folds) == (found.cases, found.folds)
    for name in ("points", "covariance", "truth", "density", "mirror_disagreement", "shape_distance", "confidence"):
        np.testing.assert_allclose(getattr(again, name), getattr(found, name), rtol=1e-7, err_msg=name)
    assert (again.status == found.status).all()
    np.testing.assert_array_equal(np.isnan(again.present), found.status == UNKNOWN)


def test_groups_are_kept_and_cases_without_one_stand_for_themselves(tmp_path):
    groups = ("anna", None, "ben", "anna", None)
    found = replace(made(cases=5), groups=groups)
    assert found.units.tolist() == [0, 1, 2, 0, 3] and made(cases=3).units.tolist() == [0, 1, 2]
    assert joined([made(cases=2), found]).groups == (None, None, *groups)
    path = tmp_path / "out_of_fold.json"
    write_out_of_fold(path, found, NAMES, "weights")
    assert read_out_of_fold(path, NAMES, "weights").groups == groups


def test_the_document_judges_patients_by_others():
    found = made(cases=20, absent=0.0)
    found.status[4:6, 1] = ABSENT
    assert calibration_document(found, NAMES, SHAPES)["presence"]["judged_by_others"]
    same = replace(found, groups=tuple("anna" if i in (4, 5) else None for i in range(20)))
    assert not calibration_document(same, NAMES, SHAPES)["presence"]["judged_by_others"]


def test_predictions_of_labels_that_were_corrected_do_not_count(tmp_path):
    found, words = made(cases=3), {ABSENT: "absent", UNKNOWN: "unknown"}
    items = [
        {
            "case": case,
            "fold": 0,
            "label": {
                name: words.get(state, point.tolist())
                for name, state, point in zip(NAMES, found.status[n], found.truth[n], strict=True)
            },
        }
        for n, case in enumerate(found.cases)
    ]
    other = {"case": "other", "fold": 1, "label": items[0]["label"]}
    (tmp_path / "data").mkdir()
    (tmp_path / "configs").mkdir()
    rows = [{"name": name} for name in NAMES]
    (tmp_path / "configs" / "landmarks.json").write_text(json.dumps({"landmarks": rows}))

    def still_good(*training):
        document = {"dataset_dir": "elsewhere", "training": [*training, other]}
        (tmp_path / "data" / "datalist.json").write_text(json.dumps(document))
        return is_of_these_labels(found, tmp_path, 0, NAMES)

    assert still_good(*items)
    assert not still_good(*items[:2])
    assert not still_good({**items[0], "group": "anna"}, *items[1:])
    n, k = np.argwhere(found.status == PRESENT)[0]
    was = items[n]["label"][NAMES[k]]
    items[n]["label"][NAMES[k]] = [was[0] + 0.1, *was[1:]]
    assert not still_good(*items)
    items[n]["label"][NAMES[k]] = "absent"
    assert not still_good(*items)


def test_figures_of_presence_that_no_other_case_judges_are_said_to_flatter():
    found = made(cases=20, absent=0.0)
    found.status[4, 1] = ABSENT
    document = calibration_document(found, NAMES, SHAPES)
    assert any("figures of presence flatter" in note for note in document["notes"])
    assert not document["presence"]["judged_by_others"]
    found.status[5, 1] = ABSENT
    document = calibration_document(found, NAMES, SHAPES)
    assert not any("figures of presence flatter" in note for note in document["notes"])


@pytest.mark.parametrize(
    ("names", "weights", "text"),
    [(NAMES, "others", None), (["a", "b"], "weights", None), (NAMES, "weights", "{"), (NAMES, "weights", "[]")],
)
def test_predictions_of_other_weights_or_landmarks_do_not_count(tmp_path, names, weights, text):
    path = tmp_path / "out_of_fold.json"
    write_out_of_fold(path, made(), NAMES, "weights")
    if text is not None:
        path.write_text(text)
    assert read_out_of_fold(path, names, weights) is None


def test_evidence_by_hand():
    peaks = Peaks(
        points=torch.zeros(2, 3),
        confidence=torch.tensor([0.5, 1.0], dtype=torch.float64),
        shape_distance=torch.zeros(2),
        replaced=torch.zeros(2),
        disagreement=torch.zeros(2),
        mirror_disagreement=torch.tensor([0.999, 0.0], dtype=torch.float64),
        covariance=torch.eye(3, dtype=torch.float64).repeat(2, 1, 1) / 3 * 0.999**2,
    )
    rows = evidence(peaks, ["peak", "spread", "mirror"])
    np.testing.assert_allclose(rows, [[0, 0, 0], [12, 0, np.log(1e-3)]], atol=1e-7)
    assert evidence_of(made(), ["spread"]).shape == (25, 3, 1)


@pytest.mark.parametrize("text", ["{", "[]", '{"landmarks": ["x"]}', '{"landmarks": ["a", "b", "c"]}'])
def test_a_damaged_calibration_is_named(tmp_path, text):
    path = tmp_path / "calibration.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"calibration.json: cannot be used .* run `auto_config calibrate`"):
        read_calibration(path, NAMES)


def two_landmarks(**more):
    """Peaks of two landmarks, all at 0 with a spread of 1 mm."""
    numbers = dict.fromkeys(("confidence", "shape_distance", "replaced", "disagreement", "mirror_disagreement"))
    numbers = {name: torch.full((2,), 0.5, dtype=torch.float64) for name in numbers}
    given = {name: torch.tensor(values, dtype=torch.float64) for name, values in more.items()}
    return Peaks(**{**numbers, "points": torch.zeros(2, 3), "covariance": torch.eye(3).repeat(2, 1, 1) / 3, **given})


def test_the_agreement_of_one_network_with_its_mirror_image_is_not_that_of_an_ensemble():
    several = two_landmarks(disagreement=[0.999, 0.5], mirror_disagreement=[0.4, 0.5])
    np.testing.assert_allclose(evidence(several, ["views"])[:, 0], [0, np.log(0.501)], atol=1e-7)
    not_mirrored = two_landmarks(disagreement=[0.999, 0.999], mirror_disagreement=[np.nan, np.nan])
    np.testing.assert_allclose(evidence(not_mirrored, ["views"])[:, 0], 0, atol=1e-7)
    for disagreement in ([0.3, 0.5], [np.nan, np.nan]):
        alone = two_landmarks(disagreement=disagreement, mirror_disagreement=[0.3, 0.5])
        assert np.isnan(evidence(alone, ["views"])).all()


def of_an_ensemble(cases=40, seed=0, **more):
    """Predictions of other cases by several networks, which agree where a landmark is."""
    found = made(cases=cases, seed=seed, **more)
    random = np.random.default_rng([seed, 1])
    apart = np.where(found.status == PRESENT, 0.2, 3.0) * random.uniform(0.5, 2, found.status.shape)
    mirror = np.nan_to_num(found.mirror_disagreement)
    return replace(found, folds=(), disagreement=np.hypot(mirror, apart))


def test_agreement_of_the_members_is_evidence_where_none_of_them_had_seen_the_cases(tmp_path):
    found = of_an_ensemble()
    document = calibration_document(found, NAMES, SHAPES, ensemble=True, notes=["one more"])
    assert (document["folds"], document["source"], document["cases"]) == ([], "other cases", 40)
    assert document["presence"]["features"] == ["peak", "spread", "mirror", "views"]
    assert document["presence"]["without_views"]["features"] == ["peak", "spread", "mirror"]
    assert presence_features(replace(found, folds=(0,) * 40)) == ("peak", "spread", "mirror")
    assert presence_features(of_an_ensemble(views=False)) == ("peak", "spread", "views")
    alone = replace(found, disagreement=found.mirror_disagreement)
    assert presence_features(alone) == ("peak", "spread", "mirror")
    told = " ".join(document["notes"])
    assert "one more" in told and "models/model.pt alone, whose errors are larger" in told
    assert "the one fold that did not train on it" not in told and "was trained: its" not in told


def test_one_network_falls_back_to_the_evidence_that_it_gives(tmp_path):
    found = of_an_ensemble()
    path = tmp_path / "calibration.json"
    document = calibration_document(found, NAMES, SHAPES, ensemble=True)
    path.write_text(json.dumps(document, allow_nan=False))
    calibration = read_calibration(path, NAMES)
    alone = replace(found, disagreement=found.mirror_disagreement)
    probability = calibration.probability(peaks_of(alone, 3))
    assert (probability != calibration.probability(peaks_of(found, 3))).all()
    # The same as a calibration of the same cases that never had that evidence.
    path.write_text(json.dumps(calibration_document(alone, NAMES, SHAPES)))
    np.testing.assert_allclose(probability, read_calibration(path, NAMES).probability(peaks_of(alone, 3)))


def test_evidence_that_a_prediction_does_not_give_is_one_line(tmp_path):
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(calibration_document(made(), NAMES, SHAPES)))
    peaks = peaks_of(made(views=False), 0)
    with pytest.raises(ValueError, match="calibrated with peak, spread, mirror, and this prediction does not give all"):
        read_calibration(path, NAMES).probability(peaks)
