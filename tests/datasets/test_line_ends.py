"""Lines of text files end at LF or CRLF; nothing else inside a name ends one."""

import pytest

from auto_config.bundle_scripts.landmark_files import read_fcsv, read_text
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
