"""Learning rate and end of a training, by epochs and by the clock."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ignite.engine import Engine, Events
from toy_training import ITERATIONS, Training

from auto_config.bundle_scripts.training.run import time_budget
from auto_config.bundle_scripts.training.run.schedule import Schedule, advance, learning_rate
from auto_config.bundle_scripts.training.run.time_budget import TimeBudget, steps_left, validation_due

exact = settings(max_examples=30, deadline=None, derandomize=True)


def test_learning_rate_in_closed_form():
    assert learning_rate(0.1, 0.0, iteration=1, warm_up=0, power=0.9) == 0.1
    assert learning_rate(0.1, 0.0, iteration=1, warm_up=4, power=0.9) == pytest.approx(0.025)
    assert learning_rate(0.1, 0.75, iteration=9, warm_up=4, power=2.0) == pytest.approx(0.1 / 16)
    assert learning_rate(0.1, 1.0, iteration=9, warm_up=4, power=0.9) == 0.0


@exact
@given(st.integers(1, 300))
def test_equal_steps_make_equal_progress(number):
    progress = 0.0
    for step in range(1, number + 1):
        progress = advance(progress, number - step)
        assert progress == pytest.approx(step / number)
    assert progress == 1.0


@exact
@given(st.lists(st.integers(0, 50), min_size=1, max_size=60))
def test_progress_grows_and_never_passes_its_end_whatever_is_estimated(estimates):
    progress = 0.0
    for estimate in estimates:
        following = advance(progress, estimate)
        assert progress <= following <= 1.0
        progress = following
    assert advance(progress, 0) == 1.0


def rates(training):
    result = []
    training.trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: result.append(training.optimizer.param_groups[0]["lr"])
    )
    training.run()
    return result


def test_the_rate_of_a_run_of_epochs_depends_on_counts_only(tmp_path):
    total = 4 * ITERATIONS
    expected = [0.05 * min(1, (n + 1) / 3) * (1 - n / total) ** 0.9 for n in range(total)]
    training = Training(tmp_path, epochs=4)
    assert rates(training) == pytest.approx(expected, rel=1e-12)
    assert training.schedule.progress == 1.0
    assert training.trainer.state.learning_rate == pytest.approx(expected[-1])


def test_a_client_changes_the_number_of_epochs_in_one_place(tmp_path):
    training = Training(tmp_path, epochs=4)
    training.trainer.state.max_epochs = 2
    assert rates(training)[-1] == pytest.approx(0.05 * (1 / (2 * ITERATIONS)) ** 0.9)


def test_more_epochs_on_resume_go_on_as_the_longer_training(tmp_path):
    Training(tmp_path, epochs=2).run()
    longer = rates(Training(tmp_path, epochs=4, resume=True))
    total = 4 * ITERATIONS
    assert longer == pytest.approx([0.05 * (1 - n / total) ** 0.9 for n in range(2 * ITERATIONS, total)])


def test_each_parameter_group_keeps_its_own_rate():
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in (0.4, 0.1)]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    schedule = Schedule(optimizer=optimizer, warm_up=0, power=1.0)

    trainer = Engine(lambda engine, batch: None)
    schedule.attach(trainer)
    rates = []
    trainer.add_event_handler(Events.ITERATION_STARTED, lambda: rates.append([g["lr"] for g in optimizer.param_groups]))
    trainer.run([0] * 5, max_epochs=2)
    assert rates[5] == pytest.approx([0.2, 0.05])


def test_steps_that_fit():
    assert steps_left(10.0, 2.0) == 5
    assert steps_left(10.9, 2.0) == 5
    assert steps_left(11.1, 2.0) == 6
    assert steps_left(0.9, 2.0) == 0
    assert steps_left(-5.0, 2.0) == 0


@pytest.mark.parametrize(
    ("since", "duration", "seconds", "due"),
    [
        (4.9, None, 95, False),  # the first one after half of its share of 100 s
        (5.1, None, 94, True),
        (19.0, 2.0, 50, False),  # 2 s of 20 s are a tenth
        (20.0, 2.0, 50, True),
        (20.0, 2.0, 9.0, False),  # the one at the end is near
    ],
)
def test_when_a_validation_is_due(since, duration, seconds, due):
    assert validation_due(since, duration, seconds, total=100.0, share=0.1) is due


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan")])
def test_a_budget_is_positive(seconds):
    with pytest.raises(ValueError, match="above 0"):
        TimeBudget(seconds, None, None)


class Clock:
    def __init__(self):
        self.now = 1000.0

    def time(self):
        return self.now


def train_for(seconds, folder, monkeypatch, *, step, validation, start_up=6.0):
    """Train on a clock of its own, where only start-up, steps and validations take time."""
    clock = Clock()
    monkeypatch.setattr(time_budget, "time", clock)
    training = Training(folder, epochs=1, time_budget=seconds)
    log = {"steps": 0, "validations": []}

    def do_step(trainer):
        clock.now += step(trainer.state.iteration) if callable(step) else step
        log["steps"] += 1

    def do_validation():
        clock.now += validation
        log["validations"].append(log["steps"])

    training.trainer.add_event_handler(Events.ITERATION_STARTED, do_step)
    training.evaluator.add_event_handler(Events.EPOCH_STARTED, do_validation)
    clock.now += start_up
    training.run()
    return training, clock.now - 1000.0, log


@pytest.mark.parametrize(
    ("step", "validation"),
    [(0.5, 3.0), (0.2, 1.0), (3.0, 20.0), (0.5, 0.0), (lambda n: 5.0 if n == 1 else 0.4, 2.0)],
)
def test_a_budget_is_used_to_its_end_and_not_passed(tmp_path, monkeypatch, step, validation):
    training, took, log = train_for(300.0, tmp_path, monkeypatch, step=step, validation=validation)
    usual_step = step(2) if callable(step) else step
    # Two seconds are kept for writing files, a tenth of a validation for its variation.
    assert 300 - 2 - 0.1 * validation - 1.1 * usual_step <= took <= 300
    assert training.schedule.progress == 1.0
    assert training.trainer.state.learning_rate < 0.05 * 0.03
    assert log["validations"][-1] == log["steps"]
    assert len(log["validations"]) * validation <= 0.16 * 300


def test_a_machine_that_gets_slower_still_ends_on_time(tmp_path, monkeypatch):
    training, took, _ = train_for(200.0, tmp_path, monkeypatch, step=lambda n: 0.2 if n < 400 else 0.8, validation=2.0)
    assert 195 <= took <= 200
    assert training.schedule.progress == 1.0


def test_a_budget_too_small_for_anything_leaves_weights(tmp_path, monkeypatch):
    _, _, log = train_for(1.0, tmp_path, monkeypatch, step=1.0, validation=1.0)
    assert log["steps"] == 1
    assert (tmp_path / "model.pt").is_file()


def test_a_training_that_used_up_its_time_ends_at_once_when_resumed(tmp_path, monkeypatch):
    train_for(100.0, tmp_path, monkeypatch, step=0.5, validation=1.0)
    before = (tmp_path / "model.pt").read_bytes()
    again = Training(tmp_path, resume=True, time_budget=100.0)
    assert rates(again) == []
    assert (tmp_path / "model.pt").read_bytes() == before


def test_a_training_that_used_up_its_time_can_be_given_epochs(tmp_path, monkeypatch):
    first, _, _ = train_for(60.0, tmp_path, monkeypatch, step=0.5, validation=1.0)
    whole_epochs = first.trainer.state.iteration // ITERATIONS
    longer = Training(tmp_path, resume=True, epochs=whole_epochs + 2)
    assert len(rates(longer)) == 2 * ITERATIONS
