"""Landmarks with any number of instances: in memory, inline and in Slicer's files."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auto_config.bundle_scripts.points.fcsv_files import read_fcsv, write_fcsv
from auto_config.bundle_scripts.points.landmark_files import read_label, read_markups, write_markups
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN, LandmarkFileError, LandmarkSet


def _set(**values: object) -> LandmarkSet:
    return LandmarkSet.from_inline(values, spatial_dims=3, many=("bud",))


def test_inline_list_of_points_is_many():
    found = LandmarkSet.from_inline({"tip": [1, 2, 3], "bud": [[4, 5, 6], [7, 8, 9]]})
    assert found.names == ("tip", "bud")
    np.testing.assert_array_equal(found.points, [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(found.instances["bud"], [[4, 5, 6], [7, 8, 9]])
    assert found.to_inline() == {"tip": [1, 2, 3], "bud": [[4, 5, 6], [7, 8, 9]]}


def test_empty_list_is_absent_and_a_word_stays_what_it_says():
    assert _set(bud=[]).status.tolist() == [ABSENT]
    assert _set(bud="absent") == _set(bud=[])
    unknown = _set(bud="unknown")
    assert unknown.status.tolist() == [UNKNOWN]
    assert unknown.instances == {}
    assert unknown.to_inline() == {"bud": "unknown"}


def test_one_point_of_a_declared_name_is_one_instance():
    assert _set(bud=[1, 2, 3]) == _set(bud=[[1, 2, 3]])


def test_ordered_keeps_instances_and_drops_those_of_others():
    found = _set(bud=[[1, 2, 3], [4, 5, 6]], tip=[0, 0, 0])
    assert found.ordered(["x", "bud"]).instances["bud"].shape == (2, 3)
    assert found.ordered(["tip"]).instances == {}


def test_rows_repeat_the_landmark():
    found = _set(tip=[0, 0, 0], bud=[[1, 2, 3], [4, 5, 6]], other="absent")
    assert [(index, status) for index, _, status in found.rows()] == [(0, 1), (1, 1), (1, 1), (2, 0)]


def test_instances_must_fit_points_and_status():
    with pytest.raises(ValueError, match="do not fit"):
        LandmarkSet(("bud",), np.zeros((1, 3)), np.array([PRESENT]), {"bud": np.ones((2, 3))})
    with pytest.raises(ValueError, match="not among"):
        LandmarkSet(("bud",), np.zeros((1, 3)), np.array([PRESENT]), {"leaf": np.ones((2, 3))})
    with pytest.raises(ValueError, match="not finite"):
        LandmarkSet(("bud",), np.zeros((1, 3)), np.array([PRESENT]), {"bud": np.array([[0, 0, 0], [0, np.nan, 0]])})


def test_a_repeated_name_stays_an_error_where_it_is_not_declared(tmp_path: Path):
    for write, name, read in ((write_markups, "a.mrk.json", read_markups), (write_fcsv, "a.fcsv", read_fcsv)):
        write(tmp_path / name, _set(bud=[[1, 2, 3], [4, 5, 6]]))
        with pytest.raises(LandmarkFileError, match="more than once"):
            read(tmp_path / name)


_points = st.lists(st.tuples(*[st.floats(-500, 500, allow_nan=False)] * 3).map(list), max_size=6)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(buds=_points, tip=st.one_of(st.just("absent"), st.just("unknown"), st.just([1.0, -2.0, 3.5])))
def test_files_and_inline_keep_every_instance(tmp_path_factory: pytest.TempPathFactory, buds: list, tip: object):
    folder = tmp_path_factory.mktemp("files")
    original = LandmarkSet.from_inline({"bud": buds, "tip": tip}, spatial_dims=3)
    assert LandmarkSet.from_inline(original.to_inline(), spatial_dims=3) == original
    write_markups(folder / "a.mrk.json", original)
    write_fcsv(folder / "a.fcsv", original)
    for name in ("a.mrk.json", "a.fcsv"):
        found = read_label(folder / name, many=("bud",))
        assert found.status.tolist() == original.status.tolist()
        np.testing.assert_allclose(found.instances["bud"], original.instances["bud"], atol=1e-9)
        np.testing.assert_allclose(found.points, original.points, atol=1e-9)


def test_names_in_descriptions_may_repeat_where_declared(tmp_path: Path):
    rows = [("1", "bud", 1.0), ("2", "tip", 2.0), ("3", "bud", 3.0)]
    lines = [f"{n},{x},0,0,0,0,0,1,1,1,0,{n},{name}," for n, name, x in rows]
    path = tmp_path / "a.fcsv"
    path.write_text("# CoordinateSystem = RAS\n" + "\n".join(lines) + "\n", encoding="utf-8")
    found = read_fcsv(path, many=("bud",))
    assert found.names == ("bud", "tip")
    np.testing.assert_array_equal(found.instances["bud"][:, 0], [1, 3])
