"""landmarks.json: pairs, ends, instances and measures, read, written and refused."""

import pytest

from auto_config.datasets.model.properties import (
    Measure,
    Properties,
    parse_properties,
    read_properties,
    write_properties,
)
from auto_config.errors import UserError

NAMES = ("left é, 1", "right", "end 1", "end 2", "suture")
EVERYTHING = Properties(
    pairs=(("left é, 1", "right"),),
    exchangeable=(("end 1", "end 2"),),
    many=("suture",),
    measures=(
        Measure("length", "distance", ("end 1", "end 2")),
        Measure("a", "angle", ("left é, 1", "right", "end 1")),
    ),
    descriptions={"suture": "where bones meet"},
    notes=("ends are ordered from left to right",),
)


@pytest.mark.parametrize("properties", [EVERYTHING, Properties(), Properties(pairs=())])
def test_what_is_written_is_read(tmp_path, properties):
    write_properties(tmp_path / "landmarks.json", NAMES, properties)
    assert read_properties(tmp_path / "landmarks.json") == (NAMES, properties)


def test_the_part_for_some_names():
    part = EVERYTHING.for_names(("end 2", "end 1", "right"))
    assert part.pairs == ()
    assert part.exchangeable == (("end 1", "end 2"),)
    assert [measure.name for measure in part.measures] == ["length"]
    assert (part.many, part.descriptions, part.notes) == ((), {}, EVERYTHING.notes)


def test_one_side_may_name_the_partner():
    _, properties = parse_properties({"landmarks": [{"name": "a"}, {"name": "b", "exchangeable": "a"}]}, "x")
    assert properties.exchangeable == (("a", "b"),)
    assert properties.pairs is None


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "needs a list 'landmarks'"),
        ({"landmarks": [{"name": "$a"}]}, "begins with"),
        ({"landmarks": [{"name": "a"}, {"name": "a"}]}, "more than once"),
        ({"landmarks": [{"name": "a", "instances": "two"}]}, "allowed: one, many"),
        ({"landmarks": [{"name": "a", "pair": "b"}]}, "is not in the list of landmarks; list it too"),
        ({"landmarks": [{"name": "a", "exchangeable": "a"}]}, "give the name of another landmark"),
        ({"landmarks": [{"name": "a", "pair": "b"}, {"name": "b", "pair": "c"}, {"name": "c"}]}, "two partners"),
        (
            {"landmarks": [{"name": "a"}], "measures": [{"name": "m", "kind": "area", "landmarks": ["a"]}]},
            "kind 'area'",
        ),
        (
            {"landmarks": [{"name": "a"}], "measures": [{"name": "m", "kind": "distance", "landmarks": ["a"]}]},
            "needs 2",
        ),
        (
            {"landmarks": [{"name": "a"}], "measures": [{"name": "m", "kind": "distance", "landmarks": ["a", "b"]}]},
            "not among",
        ),
        ({"landmarks": [{"name": "a", "exchangable": "b"}, {"name": "b"}]}, "if 'exchangeable' is meant"),
        ({"landmarks": [{"name": "a", "exchangeable": "b", "instances": "many"}, {"name": "b"}]}, "no single point"),
        (
            {
                "landmarks": [{"name": "a", "instances": "many"}, {"name": "b"}],
                "measures": [{"name": "m", "kind": "distance", "landmarks": ["a", "b"]}],
            },
            "belongs to measure 'm'",
        ),
    ],
)
def test_what_is_wrong_is_said(document, message):
    with pytest.raises(UserError, match=message) as error:
        parse_properties(document, "landmarks.json")
    assert "\n" not in str(error.value)
