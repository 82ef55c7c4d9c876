"""What a training says of its progress, on the terminal and in progress.jsonl."""

import io
import json
import re
from types import SimpleNamespace

import pytest
from ignite.engine import Events
from rich.console import Console
from toy_training import Training, errors

from auto_config.bundle_scripts.training.run import progress
from auto_config.bundle_scripts.training.run.progress import append_line, duration, seconds_left


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (44.6, "45 s"), (61, "1 min"), (3540, "59 min"), (3571, "1 h 00 min"), (11100, "3 h 05 min")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_time_left():
    assert seconds_left(10.0, 0.0, 0.25) == pytest.approx(30.0)
    assert seconds_left(10.0, 0.5, 0.75) == pytest.approx(10.0)
    assert seconds_left(10.0, 0.5, 0.5) is None


class Terminal(io.StringIO):
    """A file that is a terminal."""

    def isatty(self):
        return True


def report(folder, *, terminal=False, stream=None, **options):
    stream = stream or (Terminal if terminal else io.StringIO)()
    training = Training(folder, console=Console(file=stream, force_terminal=terminal, width=200), **options)
    return training, stream


def test_a_line_per_epoch_where_nobody_looks_at_a_terminal(tmp_path):
    training, stream = report(tmp_path, epochs=4)
    training.run()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 5
    assert re.fullmatch(r"epoch 1/4  25 %  loss \d+\.\d{4}  lr \d\.\d\de-\d\d  \d+ s left", lines[0])
    assert re.search(r"^epoch 2/4  50 %  .*  error \d\.\d{3} mm  best \d\.\d{3} mm", lines[1])
    # Validated every second epoch: the error of another epoch is not shown again.
    assert ["  error " in line for line in lines] == [False, True, False, True, True]
    assert lines[4].startswith("Training has ended:  epoch 4/4  100 %")
    assert " left" not in lines[4]
    assert f"best {training.checkpoints.best:.3f} mm" in lines[4]


def test_a_notebook_that_asks_for_colours_gets_a_line_per_epoch_and_no_bar(tmp_path):
    """Kernels of Jupyter set FORCE_COLOR for what they start, and a console takes that for a terminal."""
    training, stream = report(tmp_path, epochs=4, terminal=True, stream=io.StringIO())
    training.run()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 5
    assert not any("\r" in line or "\x1b[2K" in line for line in lines)


def test_the_loss_is_the_mean_of_its_epoch(tmp_path):
    training, stream = report(tmp_path, epochs=1)
    losses = []
    training.trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda trainer: losses.append(float(trainer.state.output[0]["loss"]))
    )
    training.run()
    assert f"loss {sum(losses) / len(losses):.4f}" in stream.getvalue()


def test_a_bar_on_a_terminal(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "_REFRESH_SECONDS", 0.0)
    training, stream = report(tmp_path, terminal=True, epochs=2)
    training.run()
    assert "━" in stream.getvalue()
    assert "Training has ended" in stream.getvalue()
    assert training.trainer.state.epoch == 2


@pytest.mark.parametrize("terminal", [False, True])
def test_ctrl_c_ends_with_one_line(tmp_path, terminal):
    training, stream = report(tmp_path, terminal=terminal)

    def stop(trainer):
        if trainer.state.iteration == 12:
            raise KeyboardInterrupt

    training.trainer.add_event_handler(Events.ITERATION_STARTED, stop)
    with pytest.raises(SystemExit) as status:
        training.run()
    assert status.value.code == 130
    assert "Training was stopped" in stream.getvalue().splitlines()[-1]


def test_an_error_is_not_swallowed(tmp_path):
    training, _ = report(tmp_path)

    def fail():
        raise ZeroDivisionError("in a step")

    training.trainer.add_event_handler(Events.ITERATION_STARTED, fail)
    with pytest.raises(ZeroDivisionError, match="in a step"):
        training.run()


@pytest.mark.parametrize("unit", ["mm", "px"])
def test_errors_are_shown_in_their_unit(unit):
    schedule = SimpleNamespace(progress=0.5, budget=None)
    shown = progress.ProgressReport(schedule, SimpleNamespace(last=2.0, best=1.5), unit=unit)
    trainer = SimpleNamespace(
        state=SimpleNamespace(epoch=1, max_epochs=2), optimizer=SimpleNamespace(param_groups=[{"lr": 0.1}])
    )
    assert f"error 2.000 {unit}  best 1.500 {unit}" in shown.line(trainer)


def test_only_process_0_reports(tmp_path, monkeypatch):
    monkeypatch.setattr(progress.idist, "get_rank", lambda: 1)
    training, stream = report(tmp_path, epochs=1)
    training.run()
    assert stream.getvalue() == ""


def records(folder):
    return [json.loads(line) for line in (folder / "fold_0" / "progress.jsonl").read_text().splitlines()]


def test_a_training_that_ended_by_the_clock_says_so(tmp_path):
    training, stream = report(tmp_path, time_budget=1.0)
    training.run()
    assert stream.getvalue().splitlines()[-1].startswith("Training has ended with its time:  epoch 1  100 %")
    assert {line["calibration_seconds"] for line in records(tmp_path)} == {None}


def test_the_median_said_at_the_end_is_that_of_the_weights_that_are_kept(tmp_path):
    training, stream = report(tmp_path, epochs=3, interval=1, metric=errors([3.0, 1.0, 2.0]), unit="px")
    medians = iter([2.5, 0.75, 1.5])
    shape = SimpleNamespace(value=9.0, median=None)
    training.evaluator.add_event_handler(Events.STARTED, lambda: setattr(shape, "median", next(medians)))
    training.report._mean_shape = shape
    training.run()
    assert "is 1 px on average and 0.75 px in the median" in stream.getvalue().splitlines()[-1]


def test_a_training_on_all_cases_says_that_nobody_knows_its_error(tmp_path):
    training, stream = report(tmp_path, epochs=1, cases=0)
    training.run()
    assert stream.getvalue().splitlines()[-1].startswith("No case was held out, so nobody knows the error")


def test_programs_read_the_numbers_of_each_epoch(tmp_path):
    training, _ = report(tmp_path, epochs=4)
    training.run()
    written = records(tmp_path)
    assert [line["epoch"] for line in written] == [0, 1, 2, 3, 4, 4]
    assert [line["progress"] for line in written] == pytest.approx([0, 0.25, 0.5, 0.75, 1.0, 1.0])
    assert [line["mre_mm"] is None for line in written] == [True, True, False, False, False, False]
    assert (written[0]["loss"], written[0]["seconds_left"]) == (None, None)
    assert (written[-1]["max_epochs"], written[-1]["best_mre_mm"]) == (4, training.checkpoints.best)
    assert written[-1]["seconds_left"] == 0


def test_a_resume_appends_and_a_new_training_begins_a_new_file(tmp_path):
    report(tmp_path, epochs=1)[0].run()
    report(tmp_path, epochs=2, resume=True)[0].run()
    assert [line["epoch"] for line in records(tmp_path)] == [0, 1, 1, 1, 2, 2]
    report(tmp_path, epochs=1)[0].run()
    assert [line["epoch"] for line in records(tmp_path)] == [0, 1, 1]


def test_a_line_that_a_kill_cut_short_costs_no_other(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"epoch": 1}\n{"epo')
    append_line(path, {"epoch": 2, "mre_mm": float("nan")})
    lines = path.read_text().splitlines()
    assert (json.loads(lines[0]), json.loads(lines[2])) == ({"epoch": 1}, {"epoch": 2, "mre_mm": None})
