"""Progress bars are drawn on terminals alone."""

import io
import sys

import pytest

from auto_config.prediction.cases import _progress
from auto_config.running.parallel import map_cases


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("kind", [Terminal, io.StringIO])
def test_a_bar_is_drawn_where_somebody_sees_it_turn(monkeypatch, kind):
    """A kernel of Jupyter asks for colours, but what it shows is no terminal: each turn would be an output."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", kind())
    assert map_cases(len, ["a", "bb", "ccc"], workers=1, label="reading images") == [1, 2, 3]
    assert ("reading images" in sys.stderr.getvalue()) == (kind is Terminal)


@pytest.mark.parametrize("kind", [Terminal, io.StringIO])
def test_so_is_the_bar_of_a_prediction(monkeypatch, kind):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", kind())
    with _progress() as progress:
        progress.advance(progress.add_task("predicting", total=1))
    assert ("predicting" in sys.stderr.getvalue()) == (kind is Terminal)
