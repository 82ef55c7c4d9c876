"""Lines of text files end at LF or CRLF; nothing else inside a name ends one."""

import pytest

from auto_config.bundle_scripts.points.fcsv_files import read_fcsv
from auto_config.bundle_scripts.points.landmark_text import read_text
from auto_config.datasets import read_dataset
from auto_config.datasets.assembly.groups import with_groups
from auto_config.errors import UserError
from auto_config.evaluation.predictions import read_predictions
from auto_config.planning.splits import read_test_file

_HEAD = "# Markups fiducial file version = 5.6\n# CoordinateSystem = LPS\n# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"  # noqa: E501 - as Slicer writes it


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("AC\r", "AC"),
        ("A\rC", "AC"),
        ("A\x0bC", "A\x0bC"),
        ("A\u2028C", "A\u2028C"),
        ("A\x85C", "A\x85C"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_only_lf_and_crlf_end_a_line_of_an_fcsv(written, name, end, tmp_path):
    path = tmp_path / "case.fcsv"
    text = f"{_HEAD}1,1,2,3,0,0,0,1,1,1,0,{written},,,2,0\n2,4,5,6,0,0,0,1,1,1,0,PC,,,2,0\n"
    path.write_bytes(text.replace("\n", end).encode())
    if name.isprintable():
        found = read_fcsv(path)
        assert found.names == (name, "PC")
        assert found.points.tolist() == [[-1, -2, 3], [-4, -5, 6]]
    else:
        assert [line.count(",") for line in read_text(path).split("\n")][3:] == [15, 15, 0]


def test_a_table_of_an_old_macintosh_is_read(tmp_path):
    path = tmp_path / "old.csv"
    path.write_bytes(b"case,x\ranna,1\r")
    assert read_text(path) == "case,x\nanna,1\n"


def test_a_list_of_test_cases_is_split_at_line_ends_only(tmp_path):
    path = tmp_path / "test.txt"
    path.write_bytes("anna\u2028b\r\nben\r\n".encode())
    assert read_test_file(path) == ["anna\u2028b", "ben"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_stray_cr_ends_no_line_of_a_list_of_test_cases(end, tmp_path):
    path = tmp_path / "test.txt"
    path.write_bytes(f"\ufeffan\rna{end}ben{end}".encode())
    assert read_test_file(path) == ["anna", "ben"]


@pytest.mark.parametrize("text", ["case;group\nann;p1\nb\ren;p1\n", "sep=,\r\ncase,group\r\nann , p1\r\nben,p1\r\n"])
def test_groups_are_read_as_every_other_table(text, folder, tmp_path):
    for case in ("ann", "ben"):
        folder.case(case)
    (tmp_path / "groups.csv").write_bytes(text.encode())
    grouped = with_groups(read_dataset(folder.root)[0], tmp_path / "groups.csv")
    assert [case.group for case in grouped.cases] == ["p1", "p1"]


def test_an_empty_group_is_no_group(folder, tmp_path):
    for case in ("ann", "ben"):
        folder.case(case)
    (tmp_path / "groups.csv").write_text("case,group\nann,\nben,\n")
    grouped = with_groups(read_dataset(folder.root)[0], tmp_path / "groups.csv")
    assert [case.group for case in grouped.cases] == [None, None]


def test_a_stray_cr_ends_no_line_of_predictions(tmp_path):
    (tmp_path / "predictions.csv").write_bytes(b"case,landmark,x_ras_mm,y_ras_mm,z_ras_mm\nan\rn,AC,1,2,3\n")
    found = read_predictions(tmp_path)
    assert (found.cases, found.points.tolist()) == (("ann",), [[[1, 2, 3]]])


def test_predictions_in_utf_16_are_refused_in_one_line(tmp_path):
    (tmp_path / "predictions.csv").write_bytes("case,landmark".encode("utf-16"))
    with pytest.raises(UserError, match="is UTF-16 text; save it again as UTF-8"):
        read_predictions(tmp_path)
