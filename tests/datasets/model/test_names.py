"""Left-right pairs, variants and slips of the pen."""

import pytest

from auto_config.datasets.model.names import left_right_pairs, name_variants, similar_name


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("left eye", "right eye"),
        ("Left_Eye", "Right_Eye"),
        ("L", "R"),
        ("l_eye", "r_eye"),
        ("eye_l", "eye_r"),
        ("eye-L-2", "eye-R-2"),
        ("L eye", "R eye"),
        ("LEye", "REye"),
        ("eyeL", "eyeR"),
        ("eyeLeft", "eyeRight"),
        ("lefteye", "righteye"),
        ("EYE (left)", "EYE (right)"),
        ("mand.l", "mand.r"),
    ],
)
def test_pairs_by_name(left, right):
    assert left_right_pairs([right, "nose", left]) == [(2, 0)]


@pytest.mark.parametrize(
    "names", [["lip", "rip"], ["1", "2"], ["left eye", "nose"], ["label", "rabel"], ["leftover", "rightover_"], []]
)
def test_no_pairs(names):
    assert left_right_pairs(names) == []


def test_a_name_is_in_one_pair():
    names = ["L1 left", "R1 left", "L1 right", "R1 right"]
    pairs = left_right_pairs(names)
    members = [index for pair in pairs for index in pair]
    assert len(members) == len(set(members)) == 4


def test_variants_differ_in_case_and_signs_only():
    assert name_variants(["AC", "ac", "left eye", "Left_Eye", "PC"]) == [("AC", "ac"), ("left eye", "Left_Eye")]
    assert name_variants(["a1", "a2"]) == []


def test_similar_names_have_the_same_numbers():
    assert similar_name("vertebra 12", ["vertebra 13", "vertebar 12"]) == "vertebar 12"
    assert similar_name("vertebra 12", ["vertebra 13"]) is None
    assert similar_name("nose", ["toe"]) is None
