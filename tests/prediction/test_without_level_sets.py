"""Regions of a method that has no level sets are refused before any image."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from auto_config.errors import UserError
from auto_config.prediction.regions import level_sets

NAMES = ["a", "b"]


def opened(root, levelset, ball=((1.0, 2.0),)):
    """A bundle with these bounds of two landmarks at one level."""
    (root / "models").mkdir(parents=True)
    (root / "configs").mkdir()
    document = {"landmarks": NAMES, "levels": [0.5], "cases": 8, "notes": [], "presence": None, "shape": None}
    document["regions"] = {"ball_mm": ball, "ellipsoid": ball, "levelset": levelset}
    (root / "models" / "calibration.json").write_text(json.dumps(document), encoding="utf-8")
    items = [{"name": name, "slug": name, "pair": None} for name in NAMES]
    landmarks = {"spatial_dims": 3, "landmarks": items}
    (root / "configs" / "landmarks.json").write_text(json.dumps(landmarks), encoding="utf-8")
    return SimpleNamespace(root=root, names=NAMES)


def test_a_method_without_level_sets_has_no_regions(tmp_path):
    with pytest.raises(UserError, match=r"no landmark has a level set .* omit --regions") as error:
        level_sets(opened(tmp_path, [[None, None]]), 0.5)
    assert "\n" not in str(error.value)


def test_one_landmark_with_a_level_set_is_enough(tmp_path):
    assert level_sets(opened(tmp_path, [[0.1, None]]), 0.5).tolist() == [0.1, -np.inf]


def test_too_few_cases_for_any_region_are_another_matter(tmp_path):
    bounds = level_sets(opened(tmp_path, [[None, None]], ball=[[None, None]]), 0.5)
    assert not np.isfinite(bounds).any()
