"""What the plan says of pictures and of several channels."""

from dataclasses import replace

import pytest
from test_planner_decisions import CT, SKULLS, SPLIT

from auto_config.bundle import configs
from auto_config.bundle.metadata import metadata
from auto_config.errors import UserError
from auto_config.fingerprint.summary import Fingerprint
from auto_config.planning import PlanOptions, make_plan

MR = {**CT, "min": 0, "air": 0, "p00_5": 10, "air_zscore": -0.8}
XRAYS = replace(
    SKULLS,
    spatial_dims=2,
    shapes=[[1935, 2400]] * 34,
    spacings=[[0.1, 0.1]] * 34,
    extents_mm=[[193.5, 240.0]] * 34,
    intensity=[MR],
    modality_guess=None,
    landmark_extent_mm=[[120.0, 150.0]] * 34,
)
TWO = replace(SKULLS, channels=2, intensity=[CT, MR], channel_guesses=["ct", None])


def plan(fingerprint, **options):
    return make_plan(fingerprint, PlanOptions(**options), SPLIT)


def test_volumes_are_in_mm_and_need_no_pixel_size():
    found = plan(SKULLS)
    assert (found.value("unit"), found.value("pixel_spacing"), found.value("channel_names")) == ("mm", None, ["image"])
    assert "pixel_spacing" not in configs.inference_config(found, 5)


@pytest.mark.parametrize(
    ("unit", "spacing", "expected"),
    [("mm", None, ("mm", None)), ("mm", [0.1, 0.1], ("mm", [0.1, 0.1])), ("px", None, ("px", None))],
)
def test_pictures_are_read_for_prediction_as_for_training(unit, spacing, expected):
    found = plan(replace(XRAYS, unit=unit, pixel_spacing=spacing))
    assert (found.value("unit"), found.value("pixel_spacing")) == expected
    assert found.reason("unit").startswith("warning") == (unit == "px")
    for config in (configs.inference_config(found, 5), configs.train_config(found, 5, "/data", 0)):
        assert config["pixel_spacing"] == spacing
    assert configs.inference_config(found, 5)["preprocessing"]["transforms"][0] == {
        "_target_": "scripts.images.loader.LoadFilesd",
        "keys": "image",
        "spatial_dims": 2,
        "channels": 1,
        "pixel_spacing": "@pixel_spacing",
    }


@pytest.mark.parametrize(
    ("options", "half"),
    [({}, True), ({"method": "nnlandmark"}, False), ({"method": "scn"}, False), ({"decoder": "taylor"}, False)],
)
def test_what_was_measured_predicts_in_half_precision(options, half):
    config = configs.inference_config(plan(XRAYS, **options), 5)
    assert config.get("amp") is (True if half else None)
    assert ("amp" in config["inferer"]) == half


def test_a_cephalogram_is_planned_by_the_rules_for_2d():
    found = plan(XRAYS, gpu_memory_gb=8)
    assert found.value("orientation") is None
    assert found.value("spacing") == [0.1, 0.1]
    coarse, fine = found.value("stages")
    assert all(len(stage["patch_size"]) == 2 for stage in (coarse, fine))
    # The coarse patch holds the whole picture, with some room.
    for edge, step, whole in zip(coarse["patch_size"], coarse["spacing"], (193.5, 240.0), strict=True):
        assert edge * step >= 1.1 * whole
    assert fine["patch_size"] == [128, 128]
    assert max(fine["filters"]) <= 512
    tiny = plan(XRAYS)
    assert tiny.stage("fine")["patch_size"] == [64, 64]


def test_each_channel_has_a_normalisation_and_a_name():
    found = plan(TWO, channel_names=("CT", "T2"))
    assert [rule["kind"] for rule in found.value("normalization")] == ["ct", "zscore"]
    assert found.reason("normalization").startswith("channel 0: CT (the grey values are Hounsfield units")
    assert "channel 1: not CT" in found.reason("normalization")
    document = metadata(found, "name", {"landmarks": [{"name": "a", "slug": "a"}]}, 3)
    image = document["network_data_format"]["inputs"]["image"]
    assert image["channel_def"] == {"0": "CT", "1": "T2"}
    assert image["num_channels"] == 2
    assert image["modality"] == "CT, unknown"
    assert plan(TWO).value("channel_names") == ["image 0", "image 1"]


def test_the_user_names_the_modality_of_all_channels_or_of_each():
    assert [rule["kind"] for rule in plan(TWO, modality="mr").value("normalization")] == ["zscore", "zscore"]
    assert [rule["kind"] for rule in plan(TWO, modality="mr,ct").value("normalization")] == ["zscore", "ct"]
    with pytest.raises(UserError, match="--modality ct,mr,ct: has 3 parts, the images have 2 channels"):
        plan(TWO, modality="ct,mr,ct")
    with pytest.raises(UserError, match="--channels a: has 1 parts, the images have 2 channels"):
        plan(TWO, channel_names=("a",))
    with pytest.raises(UserError, match="--modality must be one of ct, mr, got 'us'"):
        plan(TWO, modality="ct,us")


def test_fingerprints_of_older_versions_still_plan():
    old = {
        key: value for key, value in SKULLS.to_dict().items() if key not in ("channel_guesses", "unit", "pixel_spacing")
    }
    assert plan(Fingerprint.from_dict(old)).value("normalization")[0]["kind"] == "ct"
