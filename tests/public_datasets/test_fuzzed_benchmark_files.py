"""Whatever stands in a file of a benchmark, its parser reads it or says in one line what is wrong."""

import json

import benchmark_layouts as layouts
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auto_config.bundle_scripts.points.landmarks import LandmarkFileError
from auto_config.errors import UserError
from auto_config.public_datasets import afids, fetal_pose, hand_xray, isbi2015
from auto_config.public_datasets.shared.itk_transform import read_transform
from auto_config.public_datasets.shared.line_markup import read_line

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
PIECES = st.sampled_from(
    [
        *("1", "-2.5", "nan", "1e999", ",", "\n", ":", "#", " ", "x", "é", "\0", '"'),
        *("Transform: AffineTransform_double_3_3", "Parameters: 1 0 0 0 1 0 0 0 1 1 2 3", "FixedParameters: 0 0"),
        *("# CoordinateSystem = 0", "1,2,3,4,5,6,7,8,9,10,11,12,AC,"),
    ]
)
QUICK = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def attempt(parser, path):
    """Nothing but the errors that are meant for a person, in one line that names the file."""
    try:
        return parser(path)
    except (UserError, LandmarkFileError) as error:
        assert "\n" not in str(error)
        assert path.name in str(error)
        return None


@QUICK
@given(pieces=st.lists(PIECES, max_size=30), number=st.integers(0, 3))
def test_text(tmp_path, pieces, number):
    path = tmp_path / ("a.txt", "a_trf.txt", "a.fcsv", "all.csv")[number]
    path.write_text("".join(pieces), encoding="utf-8")
    parsers = (
        isbi2015.read_pixels,
        read_transform,
        lambda one: afids.read_afids(one, np.eye(4)),
        lambda one: hand_xray.read(one.parent),
    )
    attempt(parsers[number], path)


@QUICK
@given(spacing=JSON, landmarks=JSON, whole=st.booleans(), other=JSON)
def test_annotations_of_fetal_pose(tmp_path, spacing, landmarks, whole, other):
    path = tmp_path / "a_landmark.json"
    path.write_text(json.dumps(other if whole else {"spacing": spacing, "landmarks": landmarks}))
    read = attempt(fetal_pose.read_annotation, path)
    assert read is None or np.isfinite(read[0]).all()


@QUICK
@given(key=st.sampled_from(["type", "coordinateSystem", "coordinateUnits", "controlPoints", "markups"]), value=JSON)
def test_lines(tmp_path, key, value):
    path = tmp_path / "TCD.mrk.json"
    layouts.line_markup(path, [(1, 2, 3), (4, 5, 6)])
    document = json.loads(path.read_text())
    (document if key == "markups" else document["markups"][0])[key] = value
    path.write_text(json.dumps(document))
    ends = attempt(read_line, path)
    assert ends is None or ends.shape == (2, 3)


@pytest.mark.parametrize("parser", [isbi2015.read_pixels, read_transform, read_line, fetal_pose.read_annotation])
def test_bytes_that_are_no_text(tmp_path, parser):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(range(128, 256)))
    with pytest.raises((UserError, LandmarkFileError), match=r"a\.bin"):
        parser(path)
