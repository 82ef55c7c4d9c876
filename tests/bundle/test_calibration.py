"""A trained bundle is calibrated on what its folds did not see, and predicts with it."""

import json
import re
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_tools import edit, shrink

from auto_config import cli
from auto_config.bundle.opened import OpenBundle, open_bundle
from auto_config.bundle_scripts.points.landmark_files import read_markups, write_markups
from auto_config.bundle_scripts.points.landmarks import ABSENT, LandmarkSet
from auto_config.calibration.conformal import conformal_quantile
from auto_config.calibration.validation_cases import folds_in_use
from auto_config.commands.calibrate import calibrate
from auto_config.commands.create import create
from auto_config.errors import UserError, one_line
from auto_config.prediction.level_set_files import read_level_sets
from auto_config.prediction.regions import level_sets
from auto_config.running.time_budget import PREDICTIONS_OF_A_CASE

TRAIN = ("run", "training", "--config_file", "configs/train.json", "--train#trainer#max_epochs", 1)


def remove_one(datalist):
    """Take the first landmark from a validation case of fold 0."""
    item = next(item for item in datalist["training"] if item["fold"] == 0)
    item["label"][next(iter(item["label"]))] = "absent"


@pytest.fixture(scope="module")
def trained(two_stage_bundle, server, tmp_path_factory):
    """The two-stage bundle after one epoch of folds 0 and 1, with both in use; case a lacks its first landmark."""
    bundle = tmp_path_factory.mktemp("calibration") / "trained"
    shutil.copytree(two_stage_bundle, bundle)

    edit(bundle / "data" / "datalist.json", remove_one)
    for fold in (0, 1):
        server.monai(bundle, *TRAIN, "--fold", fold, "--keep_ensemble", fold == 1)
    return bundle


def image_of(bundle, fold):
    datalist = json.loads((bundle / "data" / "datalist.json").read_text())
    item = next(item for item in datalist["training"] if item["fold"] == fold)
    return f"{datalist['dataset_dir']}/{item['image']}"


def test_the_fold_in_use_is_calibrated_and_prediction_uses_it(trained, copy_of):
    bundle = copy_of(trained)
    assert folds_in_use(bundle) == [0]
    before = open_bundle(bundle, device="cpu")
    plain = before.predict(before.preprocess(image_of(bundle, 1)))["result"]["landmarks"]
    assert {item["present"] for item in plain} == {1} and {item["radius_mm"] for item in plain} == {None}
    assert calibrate(bundle, pooled=True, device="cpu") == 0
    document = json.loads((bundle / "models" / "calibration.json").read_text())
    kept = json.loads((bundle / "models" / "fold_0" / "out_of_fold.json").read_text())
    assert document["folds"] == [0] and document["cases"] == len(kept["cases"])
    after = open_bundle(bundle, device="cpu")
    found = after.predict(after.preprocess(image_of(bundle, 1)))["result"]["landmarks"]
    assert [item["radius_mm"] for item in found] == document["regions"]["ball_mm"][2]
    assert [item["world"] for item in found] == [item["world"] for item in plain]
    assert all(0 < item["confidence"] < 1 for item in found)
    every = open_bundle(bundle, device="cpu", settings={"all_present": True, "region_level": 0.5})
    found = every.predict(every.preprocess(image_of(bundle, 1)))["result"]["landmarks"]
    assert {item["present"] for item in found} == {1}
    assert [item["radius_mm"] for item in found] == document["regions"]["ball_mm"][0]


def test_out_of_fold_points_are_those_of_a_prediction_by_that_fold(trained, copy_of):
    bundle = copy_of(trained)
    (bundle / "models" / "ensemble.json").write_text('{"files": ["fold_0/model.pt", "fold_1/model.pt"]}')
    calibrate(bundle, device="cpu")
    for fold in (0, 1):
        kept = json.loads((bundle / "models" / f"fold_{fold}" / "out_of_fold.json").read_text())
        datalist = json.loads((bundle / "data" / "datalist.json").read_text())
        items = [item for item in datalist["training"] if item["fold"] == fold]
        assert set(kept["cases"]) == {item["case"] for item in items}
        single = open_bundle(bundle, device="cpu", weights=[bundle / "models" / f"fold_{fold}" / "model.pt"])
        item = items[0]
        found = single.predict(single.preprocess(f"{datalist['dataset_dir']}/{item['image']}"))["result"]["landmarks"]
        row = kept["cases"][item["case"]]
        np.testing.assert_allclose([one["world"] for one in found], row["points"], atol=1e-3)
        for density, name in zip(row["density"], single.names, strict=True):
            assert (density is None) == (item["label"].get(name) in ("absent", "unknown", None))
    document = json.loads((bundle / "models" / "calibration.json").read_text())
    assert document["folds"] == [0, 1]
    assert document["presence"]["absent"] == 1 + document["presence"]["cuts"]["absent"]
    # Each network looks in the mirror, and so does their ensemble.
    assert document["presence"]["features"] == ["peak", "spread", "mirror", "border", "expected"]
    both = open_bundle(bundle, device="cpu")
    peaks = both.heatmaps(both.preprocess(image_of(bundle, 1))).peaks
    assert torch.isfinite(peaks.mirror_disagreement).all()
    assert (peaks.mirror_disagreement <= peaks.disagreement + 1e-4).all()


def test_kept_predictions_are_used_until_the_weights_change(trained, copy_of, monkeypatch):
    bundle = copy_of(trained)
    calibrate(bundle, device="cpu")
    monkeypatch.setattr(
        "auto_config.calibration.validation_cases.predict_fold", lambda *_, **__: pytest.fail("predicted again")
    )
    calibrate(bundle, cost=3.0)


@pytest.fixture(scope="module")
def others(heads, tmp_path_factory):
    """Nine cases like those of the bundle with noise of their own; the first one lacks its nose."""
    folder = tmp_path_factory.mktemp("others") / "ours"
    shutil.copytree(heads[0], folder)
    random = np.random.default_rng(11)
    for path in sorted((folder / "images").iterdir()):
        image = nib.load(path)
        grey = image.get_fdata() + random.normal(0, 3, image.shape)
        nib.save(nib.Nifti1Image(grey.astype(np.float32), image.affine), path)
    first = sorted((folder / "landmarks").iterdir())[0]
    found = read_markups(first)
    status = np.where(np.array(found.names) == "nose", ABSENT, found.status)
    write_markups(first, LandmarkSet(found.names, found.points, status))
    return folder


def both_in_use(bundle):
    (bundle / "models" / "ensemble.json").write_text('{"files": ["fold_0/model.pt", "fold_1/model.pt"]}')
    return bundle


def test_other_cases_calibrate_what_predict_does_with_the_whole_ensemble(trained, copy_of, others, capsys):
    bundle = both_in_use(copy_of(trained))
    assert cli.main(["calibrate", str(bundle), "--data", str(others), "--cost", "1", "--device", "cpu"]) == 0
    assert "mean error of the bundle" in capsys.readouterr().out
    document = json.loads((bundle / "models" / "calibration.json").read_text())
    assert (document["source"], document["folds"], document["cases"]) == ("other cases", [], 9)
    assert document["presence"]["features"] == ["peak", "spread", "mirror", "border", "expected", "views"]
    assert document["presence"]["absent"] == 1 + document["presence"]["cuts"]["absent"]
    assert document["presence"]["cuts"]["images"] > 9 and document["shape"]["cases"] != [0] * 4
    assert not (bundle / "models" / "fold_0" / "out_of_fold.json").exists()

    opened = open_bundle(bundle, device="cpu")
    truth, errors = [read_markups(path).ordered(opened.names) for path in sorted((others / "landmarks").iterdir())], []
    for path, label in zip(sorted((others / "images").iterdir()), truth, strict=True):
        found = opened.predict(opened.preprocess(path))["result"]["landmarks"]
        assert all(0 < item["confidence"] < 1 for item in found)
        errors.append(np.linalg.norm([item["world"] for item in found] - label.points, axis=1))
    for level, row in zip(document["levels"], document["regions"]["ball_mm"], strict=True):
        expected = [conformal_quantile(column, level) for column in np.array(errors).T]
        np.testing.assert_allclose([np.inf if bound is None else bound for bound in row], expected, atol=1e-3)


@pytest.fixture(scope="module")
def two_raters(others, tmp_path_factory):
    """The nine other cases with two raters, who are 2 mm to the left and to the right of the points."""
    folder = tmp_path_factory.mktemp("raters") / "ours"
    shutil.copytree(others, folder)
    for number, moved in enumerate((-2.0, 2.0)):
        own = folder / "raters" / f"r{number}"
        own.mkdir(parents=True)
        for path in (folder / "landmarks").iterdir():
            found = read_markups(path)
            write_markups(own / path.name, LandmarkSet(found.names, found.points + [moved, 0, 0], found.status))
    return folder


def test_regions_of_raters_hold_each_of_them_and_point_where_they_differ(trained, copy_of, others, two_raters, capsys):
    bundle = both_in_use(copy_of(trained))
    command = ["calibrate", str(bundle), "--data", str(others), "--device", "cpu", "--raters"]
    assert cli.main([*command, str(others)]) == 2
    assert "no case with 2 raters or more" in capsys.readouterr().err
    assert not (bundle / "models" / "calibration.json").exists()
    assert cli.main([*command, str(two_raters)]) == 0
    assert "any one of the raters ('r0', 'r1'; 9 of 9 cases have several" in " ".join(capsys.readouterr().out.split())
    regions = json.loads((bundle / "models" / "calibration.json").read_text())["regions"]
    assert regions["rater_covariance_mm2"][0] == [pytest.approx([8, 0, 0], abs=1e-4), [0, 0, 0], [0, 0, 0]]

    opened, errors = open_bundle(bundle, device="cpu"), []
    with pytest.raises(UserError, match="calibrated with single raters"):
        level_sets(opened, 0.9)
    place = [0.5, 0.8, 0.9, 0.95].index(0.9)
    for path in sorted((others / "images").iterdir()):
        truth = read_markups(others / "landmarks" / f"{path.name.removesuffix('.nii.gz')}.mrk.json").ordered(
            opened.names
        )
        items = opened.predict(opened.preprocess(path))["result"]["landmarks"]
        world = np.array([item["world"] for item in items])
        errors.append([np.linalg.norm(truth.points + [x, 0, 0] - world, axis=1) for x in (-2.0, 2.0)])
        for item, factor in zip(items, regions["ellipsoid"][place], strict=True):
            covariance = np.array(item["covariance_mm2"])
            assert covariance[0, 0] > 8
            if factor is not None:
                np.testing.assert_allclose(item["ellipsoid_mm2"], covariance * factor**2, rtol=1e-5)
    for column, bound in zip(np.moveaxis(errors, -1, 0), regions["ball_mm"][place], strict=True):
        expected = conformal_quantile(column.ravel(), 0.9, np.full(column.size, 0.5))
        assert expected == pytest.approx(np.inf if bound is None else bound, abs=1e-3)


def test_one_network_of_a_calibrated_ensemble_still_says_how_sure_it_is(trained, copy_of, others):
    bundle = both_in_use(copy_of(trained))
    assert calibrate(bundle, data=others, device="cpu") == 0
    alone = open_bundle(bundle, device="cpu", weights=[bundle / "models" / "fold_0" / "model.pt"])
    data = alone.preprocess(next((others / "images").iterdir()))
    found = alone.predict(data)["result"]["landmarks"]
    assert all(0 < item["confidence"] < 1 for item in found)
    edit(bundle / "models" / "calibration.json", lambda document: document["presence"].pop("without_views"))
    again = open_bundle(bundle, device="cpu", weights=[bundle / "models" / "fold_0" / "model.pt"])
    with pytest.raises(RuntimeError) as raised:
        again.predict(data)
    said = "calibrated with peak, spread, mirror, border, expected, views, and this prediction does not give"
    assert said in one_line(raised.value)


def test_the_training_cases_themselves_are_refused_in_one_line(trained, copy_of, heads, tmp_path, capsys):
    bundle = both_in_use(copy_of(trained))
    copied = tmp_path / "copied"
    shutil.copytree(heads[0], copied)
    for data in (heads[0], copied):
        assert cli.main(["calibrate", str(bundle), "--data", str(data)]) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith(f"error: {data}/images/") and "is a training case of" in said
    assert not (bundle / "models" / "calibration.json").exists()


def test_an_image_that_cannot_be_predicted_is_one_line(trained, copy_of, others, monkeypatch, capsys):
    bundle = copy_of(trained)

    def fails(*_):
        raise RuntimeError("applying transform\nfailed")

    monkeypatch.setattr("auto_config.calibration.others.other_cases.predict_case", fails)
    assert cli.main(["calibrate", str(bundle), "--data", str(others), "--device", "cpu"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"error: .*/ours/images/.*: cannot be predicted \(applying transform failed\)", said)


def test_weights_of_all_cases_are_calibrated_on_other_cases(trained, copy_of, others):
    """`train --fold none` leaves no unseen case, which other cases are."""
    bundle = copy_of(trained)
    for fold in (0, 1):
        shutil.rmtree(bundle / "models" / f"fold_{fold}")
    assert calibrate(bundle, data=others, device="cpu") == 0
    document = json.loads((bundle / "models" / "calibration.json").read_text())
    # One network has no agreement.
    assert document["presence"]["features"] == ["peak", "spread", "mirror", "border", "expected"]


def test_regions_are_where_the_heatmap_says(trained, copy_of, tmp_path, capsys):
    bundle = copy_of(trained)
    image = image_of(bundle, 1)
    assert cli.main(["predict", str(bundle), image, str(tmp_path / "out"), "--regions"]) == 2
    assert "calibration.json: is not there; run `auto_config calibrate" in capsys.readouterr().err
    calibrate(bundle, pooled=True, device="cpu")

    def finite(document):  # one epoch of training puts the truth where the heatmap is nothing
        document["regions"]["levelset"][0] = [0.004] * len(document["landmarks"])
        document["regions"]["levelset"][3] = [None] * len(document["landmarks"])

    edit(bundle / "models" / "calibration.json", finite)
    options = ["--regions", "--level", "0.95", "--device", "cpu"]
    assert cli.main(["predict", str(bundle), image, str(tmp_path / "none"), *options]) == 0
    assert "landmarks have no finite region of level 0.95" in capsys.readouterr().err
    # After one epoch every case has failed, and nothing is drawn of it; without what says so, it has not.
    failed = [*options[:2], "0.5", *options[3:], "--all_present"]
    assert cli.main(["predict", str(bundle), image, str(tmp_path / "failed"), *failed]) == 0
    assert not nib.load(next((tmp_path / "failed").glob("*.regions.nii.gz"))).get_fdata().any()
    (bundle / "configs" / "verdict.json").unlink()
    edit(bundle / "models" / "calibration.json", lambda document: document.pop("useless"))
    options = ["--regions", "--level", "0.5", "--all_present", "--device", "cpu"]
    assert cli.main(["predict", str(bundle), image, str(tmp_path / "out"), *options]) == 0
    (path,) = (tmp_path / "out").glob("*.regions.nii.gz")
    found = nib.load(path)
    labels = np.asarray(found.dataobj)
    opened = open_bundle(bundle, device="cpu", settings={"all_present": True})
    data = opened.preprocess(image)
    np.testing.assert_allclose(found.affine, data["image"].affine)
    assert labels.shape == tuple(data["image"].shape[1:])
    heatmaps, bounds = opened.heatmaps(data), level_sets(opened, 0.5)
    density = opened.decoder.density(heatmaps.output).numpy()
    for i in range(len(density)):
        # The densest voxel of a landmark is its own, or that of one that is even surer of the place.
        peak = np.unravel_index(density[i].argmax(), density[i].shape) + heatmaps.origins[i].numpy().astype(int)
        inside = ((peak >= 0) & (peak < labels.shape)).all()
        assert not inside or density[i].max() < bounds[i] or labels[tuple(peak)] > 0
        assert ((labels == i + 1).sum() > 0) <= (density[i].max() >= bounds[i])
    assert labels.any()
    # And each region for itself, whole where another one lies over it.
    (path,) = (tmp_path / "out").glob("*.regions.npz")
    sets = read_level_sets(path)
    assert (sets.names, sets.level) == (opened.names, 0.5)
    np.testing.assert_allclose(sets.affine, found.affine)
    voxel = abs(np.linalg.det(sets.affine[:3, :3]))
    np.testing.assert_allclose(sets.sizes, voxel * (density.reshape(len(density), -1) >= bounds[:, None]).sum(1))
    drawn = np.argwhere(labels)
    for place in drawn[:: max(1, len(drawn) // 20)]:
        assert sets.hold(labels[tuple(place)] - 1, sets.affine[:3, :3] @ place + sets.affine[:3, 3])


def test_new_weights_take_the_calibration_away(trained, copy_of, server):
    bundle = copy_of(trained)
    calibrate(bundle, device="cpu")
    assert (bundle / "models" / "calibration.json").is_file()
    server.monai(bundle, *TRAIN, "--fold", 0)
    assert not (bundle / "models" / "calibration.json").exists()


def test_weights_without_unseen_cases_are_refused(trained, copy_of, capsys):
    bundle = copy_of(trained)
    for fold in (0, 1):
        (bundle / "models" / f"fold_{fold}" / "model.pt").unlink()
    with pytest.raises(UserError, match="no case is unseen; train with `--fold 0` or `--fold all`"):
        calibrate(bundle)
    assert cli.main(["calibrate", str(bundle.parent)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert cli.main(["calibrate", str(bundle), "--cost", "0"]) == 2


def test_a_damaged_calibration_is_one_line(trained, copy_of):
    bundle = copy_of(trained)
    (bundle / "models" / "calibration.json").write_text("{")
    with pytest.raises(UserError, match=r"calibration.json: cannot be used .* run `auto_config calibrate`"):
        open_bundle(bundle, device="cpu")


def test_a_bundle_of_one_stage_needs_a_calibration_for_the_shape_prior(one_stage_bundle, copy_of, server):
    bundle = copy_of(one_stage_bundle)
    server.monai(bundle, *TRAIN, "--fold", 0)
    with pytest.raises(UserError, match="has no shape of the training cases; run `auto_config calibrate`"):
        open_bundle(bundle, device="cpu", settings={"shape_prior": True})
    calibrate(bundle, device="cpu")
    opened = open_bundle(bundle, device="cpu", settings={"shape_prior": True})
    found = opened.predict(opened.preprocess(image_of(bundle, 0)))["result"]["landmarks"]
    assert all(item["replaced"] in (False, True) for item in found)


@pytest.fixture(scope="module")
def mirrored(heads, server, tmp_path_factory):
    """A bundle of one stage that mirrors after one epoch of fold 0; its first validation case lacks a landmark."""
    bundle = tmp_path_factory.mktemp("mirrored") / "head_one_stage"
    assert create(heads[0], bundle, network="tiny", stages=1, patch_size=[16, 16, 16], workers=1, few_labels=False) == 0
    edit(bundle / "data" / "datalist.json", remove_one)
    server.monai(shrink(bundle), *TRAIN, "--fold", 0)
    return bundle


def test_the_mirror_image_is_evidence_with_one_stage_too(mirrored, copy_of):
    bundle = copy_of(mirrored)
    calibrate(bundle, device="cpu")
    document = json.loads((bundle / "models" / "calibration.json").read_text())
    assert document["presence"]["features"] == ["peak", "spread", "mirror", "border", "expected"]
    opened = open_bundle(bundle, device="cpu")
    data = opened.preprocess(image_of(bundle, 1))
    found = opened.heatmaps(data)
    assert found.output["logits"].shape == (len(opened.names), *data["image"].shape[1:]) and not found.origins.any()
    # One network: its two views are the image and the mirror image.
    assert torch.isfinite(found.peaks.mirror_disagreement).all()
    torch.testing.assert_close(found.peaks.disagreement, found.peaks.mirror_disagreement)
    result = opened.predict(data)["result"]["landmarks"]
    assert [one["disagreement_mm"] for one in result] == pytest.approx(found.peaks.disagreement.tolist())
    assert all(0 < one["confidence"] < 1 for one in result)


def test_a_calibration_predicts_as_often_as_a_time_budget_leaves_it_time_for(trained, copy_of, monkeypatch):
    seen = []
    for name in ("heatmaps", "predict"):
        predict = getattr(OpenBundle, name)
        monkeypatch.setattr(
            OpenBundle, name, lambda self, data, as_before=predict: seen.append(1) or as_before(self, data)
        )
    bundle = copy_of(trained)
    calibrate(bundle, device="cpu")
    cases = json.loads((bundle / "models" / "calibration.json").read_text())["cases"]
    assert len(seen) == PREDICTIONS_OF_A_CASE * cases
