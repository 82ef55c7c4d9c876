"""Before the first step: the cache is filled, one case says what the end takes, a budget too short is refused."""

from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Events
from toy_training import Training

from auto_config.bundle_scripts.training.run import preparation as module
from auto_config.bundle_scripts.training.run import time_budget

CASES = [{"image": f"{number}.nii.gz"} for number in range(8)]


class Clock:
    def __init__(self):
        self.now = 1000.0

    def time(self):
        return self.now


class SlowImages:
    """A cache whose images take time, each as long as the next."""

    keys = ("image",)

    def __init__(self, clock, each):
        self.clock, self.each, self.made, self.tried = clock, each, 0, 0

    def transform(self, data):
        self.clock.now += self.each
        self.tried += 1
        return data

    def fill(self, data, num_workers, watch=None):
        began = self.clock.now
        for _ in data:
            self.clock.now += self.each
            self.made += 1
            if watch is not None:
                watch(self.made, len(data), began)


def prepared(tmp_path, monkeypatch, *, budget, each, predicting, start_up=10.0, predictions=4.5):
    """Eight training cases and four to validate, on a clock where only images and predictions take time."""
    clock = Clock()
    monkeypatch.setattr(time_budget, "time", clock)
    monkeypatch.setattr(module, "time", clock)
    training = Training(tmp_path, epochs=1, time_budget=budget)
    if training.schedule.budget is not None:
        training.schedule.budget.predictions_after = predictions

    def predict(image, network):
        assert not network.training
        clock.now += predicting
        return torch.zeros(1, 1)

    usual, training.evaluator.inferer = training.evaluator.inferer, predict
    images = SlowImages(clock, each)
    clock.now += start_up
    training.schedule.prepare(images, CASES, CASES[:4], 2)
    training.evaluator.inferer = usual
    return training, images, clock


def test_one_case_says_what_validation_and_calibration_take(tmp_path, monkeypatch):
    training, images, _ = prepared(tmp_path, monkeypatch, budget=900.0, each=3.0, predicting=20.0)
    budget = training.schedule.budget
    assert images.made == 12
    assert images.tried == 1
    assert budget.validation_seconds == 80.0
    # Whole cases, and 0.15 of the budget for others.
    assert budget.calibration_seconds == pytest.approx(10.0 + 4 * (3.0 + 20.0) + 135.0 / 1.2)
    assert budget.calibration_of_cases == pytest.approx(4 * (3.0 + 20.0) + 135.0 / 1.2)
    left = 900.0 - 10.0 - 12 * 3.0 - 3.0 - 20.0
    assert budget.seconds_for_steps == pytest.approx(left - 2.0 - 1.1 * 80.0 - 1.2 * 102.0 - 135.0)


def test_a_quick_prediction_is_measured_when_it_is_warm(tmp_path, monkeypatch):
    _, _, clock = prepared(tmp_path, monkeypatch, budget=900.0, each=0.0, predicting=1.0)
    assert clock.now == 1000.0 + 10.0 + 2.0


def test_no_calibration_no_time_for_it(tmp_path, monkeypatch):
    training, images, _ = prepared(tmp_path, monkeypatch, budget=900.0, each=3.0, predicting=20.0, predictions=0)
    assert training.schedule.budget.calibration_seconds is None
    assert images.tried == 0


def test_images_that_take_all_of_the_time_are_given_up_early_and_stay(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"is 90 s, and what comes .* at least 8m for each fold .* stay so"):
        prepared(tmp_path, monkeypatch, budget=90.0, each=18.0, predicting=1.0)


def test_a_budget_that_leaves_no_time_for_steps_is_refused_with_what_is_needed(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"takes about 188 s: give at least 7m"):
        # Start 20, images 12, to try one 1 + 10; then 40 and a tenth more, 20 + 44 and a fifth more, 22.5 (0.15 of the
        # budget), 2 to close.
        prepared(tmp_path, monkeypatch, budget=150.0, each=1.0, predicting=10.0, start_up=20.0)


def test_without_a_budget_images_are_preprocessed_and_nothing_is_tried(tmp_path, monkeypatch):
    _, images, clock = prepared(tmp_path, monkeypatch, budget=None, each=1.0, predicting=99.0)
    assert (images.made, images.tried, clock.now) == (12, 0, 1022.0)


@pytest.mark.parametrize("slower_at", [None, 200])
def test_the_whole_command_ends_in_time_also_on_a_machine_that_gets_busy(tmp_path, monkeypatch, slower_at):
    """Start 10 s, images, steps, validations and the calibration in a process of its own: all at the same pace."""
    training, _, clock = prepared(tmp_path, monkeypatch, budget=600.0, each=2.0, predicting=3.0)
    pace = SimpleNamespace(now=1.0)

    def step(trainer):
        if slower_at is not None and trainer.state.iteration == slower_at:
            pace.now = 2.5
        clock.now += 0.5 * pace.now

    def validate():
        clock.now += 4 * 3.0 * pace.now

    training.trainer.add_event_handler(Events.ITERATION_STARTED, step)
    training.evaluator.add_event_handler(Events.EPOCH_STARTED, validate)
    training.run()
    # The calibration: whole cases, and of the others what fits into 0.15 of the budget.
    clock.now += (10.0 + 4 * (2.0 + 3.0)) * pace.now + min(4 * (2.0 + 3.0) * 7.0 * pace.now, 90.0)
    assert 0.95 * 600.0 <= clock.now - 1000.0 <= 600.0
    assert training.schedule.progress == 1.0
