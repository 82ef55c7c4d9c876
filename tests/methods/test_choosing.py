"""Which method and network a user may name, what earlier options stand for, and one line for every wrong name."""

from dataclasses import replace

import pytest

from auto_config.errors import UserError
from auto_config.methods import BACKBONES, METHODS, choosing
from auto_config.methods.choosing import PRESETS, check_names, earlier_names, networks_of


def test_presets_name_rows_of_both_tables():
    assert {method for method, _ in PRESETS.values()} <= set(METHODS)
    for method, network in PRESETS.values():
        check_names(method, network)


def test_earlier_options_say_what_they_stand_for():
    assert earlier_names(None, None, None, None) == (None, None, None)
    assert earlier_names("default", "plain", None, None) == ("default", "plain", None)
    assert earlier_names(None, "tiny", "nnlandmark", None) == (
        *("nnlandmark", "tiny"),
        "--recipe nnlandmark stands for --method nnlandmark",
    )
    assert earlier_names(None, None, None, "nnlandmark_resenc_l") == (
        *("nnlandmark", "resenc_l"),
        "--preset nnlandmark_resenc_l stands for --method nnlandmark --network resenc_l",
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((None, None, None, "x"), r"^--preset must be one of tiny, plain, .*, got 'x'$"),
        ((None, None, "best", None), r"^--recipe must be one of default, nnlandmark.*, got 'best'$"),
        ((None, "tiny", None, "plain"), r"^--preset plain already means --method default --network plain; give either"),
        ((None, None, "default", "plain"), r"^--preset plain already means"),
        (("default", None, "nnlandmark", None), r"^--recipe nnlandmark is the earlier name of --method nnlandmark"),
    ],
)
def test_earlier_options_are_refused_in_one_line(given, message):
    with pytest.raises(UserError, match=message):
        earlier_names(*given)


@pytest.fixture
def fixed(monkeypatch):
    """Tables with a method that has a network of its own, whose output is coarser than the image."""
    grid = replace(BACKBONES["tiny"], name="grid", stride=8)
    method = replace(METHODS["default"], name="votes", backbone="grid")
    monkeypatch.setattr(choosing, "BACKBONES", {"tiny": BACKBONES["tiny"], "plain": BACKBONES["plain"], "grid": grid})
    monkeypatch.setattr(choosing, "METHODS", {"default": METHODS["default"], "votes": method})
    return method


def test_a_method_takes_its_own_network_or_any_with_an_output_for_each_voxel(fixed):
    assert networks_of(fixed) == ("grid",)
    assert networks_of(METHODS["default"]) == ("tiny", "plain")
    check_names("votes", None)
    check_names("votes", "grid")
    check_names(None, "plain")


@pytest.mark.parametrize(
    ("method", "network", "message"),
    [
        (
            *(None, "huge"),
            "--network must be one of tiny, plain, grid, or a class such as monai.networks.nets.SwinUNETR, or a "
            ".json file with its _target_ and arguments; got 'huge'",
        ),
        ("best", None, "--method must be one of default, votes, got 'best'"),
        (
            *("votes", "plain"),
            "--network plain: method votes has its own network, grid; omit --network, or give --method default",
        ),
        (
            *(None, "grid"),
            "--network grid: method default needs an output for each voxel; give --network tiny or plain, "
            "or give --method votes",
        ),
    ],
)
def test_a_network_that_a_method_does_not_take_is_refused_in_one_line(fixed, method, network, message):
    with pytest.raises(UserError) as error:
        check_names(method, network)
    assert str(error.value) == message
