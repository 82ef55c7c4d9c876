"""Without a time budget, long validations are put off until training took five times as long."""

import itertools
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ignite.engine import Engine
from monai.engines import Evaluator

from auto_config.bundle_scripts.training.run import validation
from auto_config.bundle_scripts.training.run.validation import EPOCH_SHARE, SHORT_SECONDS, Validation, affordable


@given(st.floats(0, 1e5), st.floats(0, 1e6))
def test_short_ones_always_and_long_ones_by_their_share(seconds, trained):
    assert affordable(None, trained)
    assert affordable(seconds, trained) == (seconds < SHORT_SECONDS or seconds <= EPOCH_SHARE * trained)


class Clock:
    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


class Validator(Evaluator):
    """Takes its time."""

    def __init__(self, clock, seconds):
        self.clock, self.seconds, self.epochs = clock, seconds, []
        self.state = SimpleNamespace(epoch_length=2)

    def run(self, epoch):
        self.clock.now += self.seconds
        self.epochs.append(epoch)


def epochs_of(monkeypatch, *, epoch_seconds, validation_seconds, epochs=40, interval=5):
    """At which epochs a training validates, and the clock at its end."""
    clock = Clock()
    monkeypatch.setattr(validation, "time", clock)
    validator = Validator(clock, validation_seconds)
    trainer = Engine(lambda *_: setattr(clock, "now", clock.now + epoch_seconds))
    schedule = SimpleNamespace(budget=None, validation_due=lambda: False)
    monkeypatch.setattr(Validation, "_announce", lambda _: None)
    Validation(validator, interval, schedule).attach(trainer)
    trainer.run([0], max_epochs=epochs)
    return validator.epochs, clock.now


def test_the_interval_is_kept_where_validations_are_short_or_cheap(monkeypatch, capsys):
    every_fifth = list(range(5, 41, 5))
    assert epochs_of(monkeypatch, epoch_seconds=1, validation_seconds=50)[0] == every_fifth
    assert epochs_of(monkeypatch, epoch_seconds=200, validation_seconds=200)[0] == every_fifth
    assert not capsys.readouterr().out


def test_a_long_one_waits_for_its_share_and_the_last_weights_are_validated(monkeypatch, capsys):
    """283 head CTs: an epoch of 80 s, a validation of 780 s, due after 400 s."""
    epochs, seconds = epochs_of(monkeypatch, epoch_seconds=80, validation_seconds=780, epochs=200)
    assert epochs[0] == 5 and epochs[-1] == 200
    steps = [b - a for a, b in itertools.pairwise(epochs[:-1])]
    assert set(steps) == {49}  # the first epoch with 780 <= 0.2 * 80 * epochs
    assert 780 * len(epochs) == pytest.approx(seconds - 80 * 200)
    assert capsys.readouterr().out.count("A validation takes 13 minutes") == 1
