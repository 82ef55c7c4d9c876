"""What `train` and `predict` say before they begin, where a machine has clearly less memory than the plan states."""

import json
from dataclasses import asdict

import pytest

from auto_config.memory import enough
from auto_config.memory.enough import before_prediction, before_training, prediction_shortage, training_shortage
from auto_config.memory.main_memory import free_memory_mb, of_container, of_machine
from auto_config.memory.stated import StepMemory, TrainingMemory

STEP = StepMemory(weights=48.0, feature_maps=2000.0, loss=900.0, images=100.0)
TRAINING = TrainingMemory(process=900.0, step=STEP, validation=100.0, reading=400.0, worker=100.0, workers=1)
STATED = {
    "training_cpu_mb": round(TRAINING.total),
    "training_gpu_mb": 2100,
    "prediction_cpu_mb": 1024,
    "prediction_gpu_mb": 500,
    "batch_size": 2,
    "parts_mb": {"training_cpu": asdict(TRAINING)},
}


def test_nothing_is_said_where_memory_suffices_or_nobody_knows():
    for free in (None, TRAINING.total, TRAINING.total / 1.1):
        assert training_shortage(STATED, {}, free, None) is None
        assert prediction_shortage(STATED, 1, free, None) is None


def test_a_training_that_does_not_fit_is_told_with_the_remedy():
    said = training_shortage(STATED, {}, 2048.0, None)
    assert said.startswith("the training takes about 5.9 GB of main memory, and 2.0 GB are free; give --batch_size 1")
    assert training_shortage(STATED, {"batch_size": 1, "num_workers": "0"}, 3700.0, None) is None
    assert "--num_workers 1" in training_shortage(STATED, {"num_workers": 20}, 2048.0, None)


def test_on_a_gpu_the_step_is_its_and_the_rest_is_not():
    said = training_shortage(STATED, {}, 8000.0, 1024.0)
    assert said.startswith(
        "a training step takes about 2.1 GB of GPU memory, and the GPU has 1.0 GB: give --batch_size"
    )
    assert training_shortage(STATED, {"batch_size": 1}, 8000.0, 1024.0) is None
    assert training_shortage(STATED, {}, 2048.0, 8000.0) is None
    assert "main memory" in training_shortage(STATED, {"num_workers": 8}, 2048.0, 8000.0)


def test_processes_that_predict_share_the_memory():
    assert prediction_shortage(STATED, 1, 1000.0, None) is None
    assert "give fewer --workers" in prediction_shortage(STATED, 4, 2048.0, None)
    assert "crop images" in prediction_shortage(STATED, 1, 500.0, None)
    assert "--device cpu" in prediction_shortage(STATED, 1, 500.0, 300.0)
    assert prediction_shortage(STATED, 1, 500.0, 3000.0) is None


@pytest.mark.parametrize("text", [None, "{", "{}", '{"decisions": {"memory": null}}', '{"decisions": []}'])
def test_plans_that_state_nothing_are_no_reason_to_speak(tmp_path, monkeypatch, text):
    monkeypatch.setattr(enough, "free_memory_mb", lambda: 1.0)
    if text is not None:
        (tmp_path / "configs").mkdir()
        (tmp_path / "configs" / "plan.json").write_text(text)
    assert before_training(tmp_path, {}) is None
    assert before_prediction(tmp_path, None, 1) is None


def test_a_bundle_is_compared_with_this_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(enough, "free_memory_mb", lambda: 512.0)
    monkeypatch.setattr(enough, "gpu_memory_gb", lambda: 0.8)
    (tmp_path / "configs").mkdir()
    plan = {"decisions": {"memory": {"value": STATED, "reason": "counted"}}}
    (tmp_path / "configs" / "plan.json").write_text(json.dumps(plan))
    assert "GPU memory" in before_training(tmp_path, {})
    assert "main memory" in before_training(tmp_path, {"device": "$torch.device('cpu')"})
    assert before_prediction(tmp_path, None, 1) is None
    assert "main memory" in before_prediction(tmp_path, "cpu", 1)


def test_free_memory_of_a_machine_and_of_a_container():
    assert of_machine("MemTotal: 100 kB\nMemAvailable:   2048 kB\n") == 2.0
    assert of_machine("") is None
    mb = 2**20
    assert of_container(f"{8 * mb}\n", f"{5 * mb}\n", f"anon 1\ninactive_file {2 * mb}\n") == 5.0
    assert of_container(f"{8 * mb}", f"{5 * mb}", f"total_inactive_file {mb}\ninactive_file 7\n") == 4.0
    assert of_container(f"{mb}", f"{2 * mb}", "") == 0.0
    assert of_container("max\n", "5\n", "") is None
    assert of_container("", "", "") is None
    assert free_memory_mb() is None or free_memory_mb() > 0
