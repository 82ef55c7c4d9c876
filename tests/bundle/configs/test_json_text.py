"""JSON as people read it: what it says is what `json` says, in fewer lines."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auto_config.bundle.json_text import WIDTH, json_text

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("_target_"), inner), max_leaves=40
)


@given(VALUES, st.integers(1, 120))
@settings(derandomize=True, deadline=None, max_examples=200)
def test_it_says_what_json_says(value, width):
    text = json_text(value, width)
    assert json.dumps(json.loads(text)) == json.dumps(value)  # the order of keys too
    assert text == json_text(json.loads(text), width)
    assert text.endswith("\n") and not text.endswith("\n\n")


@given(st.recursive(st.integers(-99, 99), st.lists, max_leaves=80))
@settings(derandomize=True, deadline=None, max_examples=200)
def test_numbers_stay_within_the_width(value):
    deepest = max(len(line) - len(line.lstrip()) for line in json_text(value).splitlines())
    assert all(len(line) <= max(WIDTH, deepest + 5) for line in json_text(value).splitlines())


def test_lists_stand_on_one_line_where_they_fit():
    value = {
        "sizes": [[3, 3, 3], [3, 3, 3]],
        "names": ["INSTANCE", {"affine": True}],
        "steps": [{"_target_": "A", "keys": ["image"]}],
        "empty": [[], {}],
        "many": list(range(100, 130)),
    }
    assert json_text(value) == (
        "{\n"
        '    "sizes": [[3, 3, 3], [3, 3, 3]],\n'
        '    "names": ["INSTANCE", {"affine": true}],\n'
        '    "steps": [\n'
        "        {\n"
        '            "_target_": "A",\n'
        '            "keys": ["image"]\n'
        "        }\n"
        "    ],\n"
        '    "empty": [[], {}],\n'
        '    "many": [\n'
        "        100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112, 113, 114, 115, 116, 117,\n"
        "        118, 119, 120, 121, 122, 123, 124, 125, 126, 127, 128, 129\n"
        "    ]\n"
        "}\n"
    )


def test_a_line_of_exactly_the_width_is_not_broken():
    assert json_text({"key": [1, 2]}, 17 + 1) == '{\n    "key": [1, 2]\n}\n'  # with room for a comma
    assert json_text({"key": [1, 2]}, 16) == '{\n    "key": [\n        1, 2\n    ]\n}\n'


@pytest.mark.parametrize("value", [float("nan"), [float("inf")]])
def test_a_number_that_json_does_not_know_is_refused(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text(value)
