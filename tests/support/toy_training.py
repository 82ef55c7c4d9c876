"""A tiny training with all the machinery, and, run as a script, one that is killed again and again.

The script forks after its imports, because importing MONAI takes seconds and a kill must not cost them each time.
"""

import io
import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import torch
from ignite.engine import Events
from ignite.metrics import Average
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from torch.utils.data import Dataset

from auto_config.bundle_scripts.training.run.checkpoints import Checkpoints
from auto_config.bundle_scripts.training.run.progress import ProgressReport
from auto_config.bundle_scripts.training.run.schedule import Schedule
from auto_config.bundle_scripts.training.sampler import GlobalIndexSampler

ITERATIONS, BATCH, EPOCHS = 5, 2, 8


class Lines(Dataset):
    """A sample is a pure function of its index: four numbers and their sum."""

    def __init__(self, length=10**9):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        image = torch.randn(4, generator=torch.Generator().manual_seed(index))
        return {"image": image, "label": image.sum(0, keepdim=True)}


def absolute_error(output):
    return float((output[0]["pred"] - output[0]["label"]).abs())


class Training:
    """Trainer, evaluator and handlers, wired as train.json wires them."""

    def __init__(
        self,
        folder,
        *,
        epochs=EPOCHS,
        iterations=ITERATIONS,
        resume=False,
        cases=4,
        interval=2,
        fold=0,
        keep_ensemble=False,
        keep_better=False,
        keep_tolerance=0.0,
        keep="best",
        time_budget=None,
        width=8,
        optimizer="SGD",
        console=None,
        evaluator_seconds=0.0,
        step_seconds=0.0,
        before=(),
        metric=None,
        workers=0,
        unit="mm",
    ):
        torch.manual_seed(0)
        # Dropout draws from torch's global generator, so a resume is exact only if its state is restored.
        self.network = torch.nn.Sequential(
            torch.nn.Linear(4, width), torch.nn.Dropout(0.3), torch.nn.Tanh(), torch.nn.Linear(width, 1)
        )
        if optimizer == "SGD":
            self.optimizer = torch.optim.SGD(self.network.parameters(), lr=0.05, momentum=0.9)
        else:
            self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=0.05)
        self.evaluator = SupervisedEvaluator(
            device=torch.device("cpu"),
            val_data_loader=DataLoader(Lines(cases), batch_size=1),
            network=self.network,
            key_val_metric={"mre_mm": metric or Average(absolute_error)},
            metric_cmp_fn=lambda new, old: new < old,
        )
        self.evaluator.add_event_handler(Events.EPOCH_STARTED, lambda: time.sleep(evaluator_seconds))
        self.schedule = Schedule(
            optimizer=self.optimizer,
            warm_up=3,
            power=0.9,
            evaluator=self.evaluator,
            val_interval=interval,
            time_budget=time_budget,
        )
        self.checkpoints = Checkpoints(
            network=self.network,
            optimizer=self.optimizer,
            schedule=self.schedule,
            evaluator=self.evaluator,
            key_metric="mre_mm",
            folder=folder,
            fold=fold,
            resume=resume,
            keep_ensemble=keep_ensemble,
            keep_better=keep_better,
            keep_tolerance=keep_tolerance,
            keep=keep,
        )
        self.trainer = SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=epochs,
            train_data_loader=DataLoader(
                Lines(), batch_size=BATCH, sampler=GlobalIndexSampler(iterations * BATCH), num_workers=workers
            ),
            network=self.network,
            optimizer=self.optimizer,
            loss_function=torch.nn.MSELoss(),
            train_handlers=list(before),
        )
        self.trainer.add_event_handler(Events.ITERATION_STARTED, lambda: time.sleep(step_seconds))
        self.schedule.attach(self.trainer)
        self.checkpoints.attach(self.trainer)
        if console is not None:
            self.report = ProgressReport(self.schedule, self.checkpoints, console, unit=unit, evaluator=self.evaluator)
            self.report.attach(self.trainer)

    def run(self):
        self.trainer.run()
        return self

    def weights(self):
        return {name: tensor.clone() for name, tensor in self.network.state_dict().items()}


def kill_self():
    os.kill(os.getpid(), signal.SIGKILL)


def kill_in_half_written_file(count):
    """Be killed when half of the file number `count` is written."""
    calls = []
    save = torch.save

    def half(obj, stream):
        calls.append(1)
        if len(calls) < count:
            return save(obj, stream)
        whole = io.BytesIO()
        save(obj, whole)
        stream.write(whole.getvalue()[: whole.tell() // 2])
        stream.flush()
        return kill_self()

    torch.save = half


def kill_before_file_is_renamed(count):
    """Be killed when file number `count` lies complete beside its target."""
    calls = []
    fsync = os.fsync

    def last(number):
        fsync(number)
        calls.append(1)
        if len(calls) == count:
            kill_self()

    os.fsync = last


def train_until_killed(folder, way, count):
    """Train, resuming, and be killed in the given way."""
    if way == "half":
        kill_in_half_written_file(count)
    elif way == "renamed":
        kill_before_file_is_renamed(count)
    # On the clock, the steps are slow: however quick the machine is, the training must not end before it is killed.
    training = Training(folder, resume=True, step_seconds=0.05 if way == "time" else 0.0)
    if way == "step":
        steps = []

        def count_step():
            steps.append(1)
            if len(steps) == count:
                kill_self()

        training.trainer.add_event_handler(Events.ITERATION_COMPLETED, count_step)
    training.run()


def train_in_child(folder, way, count):
    """Train, resuming, in a forked process that is killed; give back whether it was killed."""
    child = os.fork()
    if child == 0:
        try:
            train_until_killed(folder, way, count)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)  # nothing of the parent may run on in the child
    if way == "time":
        time.sleep(count / 1000)
        os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def main(folder, seed):
    """Kill a training ten times at seeded moments; say after each kill whether the weights load."""
    torch.set_num_threads(1)
    moments = random.Random(seed)
    ways = ["half", "renamed", "half", "renamed", "half", "renamed", "step", "step", "time", "time"]
    moments.shuffle(ways)
    # A training of 8 epochs writes some 30 files and makes 40 steps; few of them pass between two kills.
    limits = {"half": 6, "renamed": 6, "step": 11, "time": 150}
    log = []
    for way in ways:
        was_killed = train_in_child(folder, way, moments.randint(1, limits[way]))
        loads = [bool(torch.load(path, weights_only=True)) for path in Path(folder).rglob("*.pt")]
        leftovers = [path.name for path in Path(folder).rglob("*.tmp")]
        log.append({"way": way, "killed": was_killed, "loads": loads, "leftovers": leftovers})
    train_in_child(folder, "never", 0)
    print(json.dumps(log))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))


def load(path):
    """Weights or the state of a training."""
    return torch.load(path, weights_only=True)


def same(one, other):
    """Whether two state dicts are equal bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def errors(values):
    """A metric with the given values, one per validation."""
    values = iter(values)

    class Given(Average):
        def compute(self):
            return next(values)

    return Given(absolute_error)
