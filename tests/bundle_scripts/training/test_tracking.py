"""The tracker: what it writes, read back; how often it draws; words that it refuses."""

import importlib.util
import json
import struct
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from auto_config.bundle_scripts.training.tracking import writers
from auto_config.bundle_scripts.training.tracking.pictures import PREDICTED, ROWS, TILE, TRUE, prediction_picture
from auto_config.bundle_scripts.training.tracking.tracker import PICTURES_OF_A_TRAINING, Tracker, landmark_errors
from auto_config.bundle_scripts.training.tracking.versions import code_versions, git_commit, scripts_digest
from auto_config.bundle_scripts.training.tracking.writers import checked_wandb

NAMES = ("nose", "Größe, 1")


@pytest.fixture
def root(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "a.py").write_text("x = 1\n")
    plan = {"fingerprint": {}, "decisions": {"network": {"value": "tiny", "reason": "r"}}}
    (tmp_path / "configs" / "plan.json").write_text(json.dumps(plan))
    table = {"spatial_dims": 3, "landmarks": [{"name": name} for name in NAMES]}
    (tmp_path / "configs" / "landmarks.json").write_text(json.dumps(table))
    return tmp_path


def case(offset):
    image = MetaTensor(torch.rand(1, 8, 9, 10, generator=torch.Generator().manual_seed(0)), torch.eye(4))
    true = torch.tensor([[2.0, 3, 4], [5, 6, torch.nan]], dtype=torch.float64)
    return {"image": image, "label": true, "pred": torch.tensor([[2.0, 3, 4], [5, 6, 7]]) + offset}


def course(root, epochs=3, **given):
    """A training of one step an epoch with a validation after each; the tracker sees what MONAI's engines leave."""
    schedule = SimpleNamespace(progress=0.0)

    def step(engine, _):
        schedule.progress = engine.state.epoch / epochs
        engine.state.learning_rate = 0.5 / engine.state.epoch
        return [{"loss": torch.tensor(float(engine.state.epoch))}]

    trainer, evaluator = Engine(step), Engine(lambda *_: [case(1.0)])

    def validate(engine):
        # As MONAI's evaluators begin.
        state, epoch = evaluator.state, engine.state.epoch
        state.max_epochs, state.epoch, state.iteration, state.epoch_length = epoch, epoch - 1, 0, 3
        evaluator.run([0, 1, 2], max_epochs=epoch)

    @evaluator.on(Events.EPOCH_COMPLETED)
    def measure():
        evaluator.state.metrics = {"mre_mm": 2.5}
        evaluator.state.metric_details = {"mre_mm": torch.tensor([[1.0, torch.nan], [2.0, 4.0]])}

    trainer.add_event_handler(Events.EPOCH_COMPLETED, validate)
    tracker = Tracker(
        output_dir=str(root / "eval"),
        bundle_root=str(root),
        landmarks=str(root / "configs" / "landmarks.json"),
        evaluator=evaluator,
        schedule=schedule,
        **given,
    )
    tracker.attach(trainer)
    trainer.run([0], max_epochs=epochs)


def events(root):
    found = EventAccumulator(str(root / "eval"), size_guidance={"images": 0, "scalars": 0, "tensors": 0})
    found.Reload()
    return found


def test_tensorboard_gets_errors_of_landmarks_pictures_plan_and_versions(root):
    course(root, pictures=2)
    found = events(root)
    tags = found.Tags()
    assert [(event.step, event.value) for event in found.Scalars("landmark_mre_mm/nose")] == [
        (1, 1.5),
        (2, 1.5),
        (3, 1.5),
    ]
    assert [event.value for event in found.Scalars("landmark_mre_mm/Größe, 1")] == [4.0] * 3
    # MONAI's own handler writes these there.
    assert not [tag for tag in tags["scalars"] if "loss" in tag or "learning_rate" in tag or tag == "mre_mm"]
    assert sorted(tags["images"]) == ["validation_case_0", "validation_case_1"]
    assert len(found.Images("validation_case_0")) == 3
    texts = {tag: found.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in tags["tensors"]}
    assert '"tiny"' in texts["plan/text_summary"]
    for word in (torch.__version__.split("+")[0], scripts_digest(root / "scripts"), "git_commit", "monai"):
        assert word in texts["versions/text_summary"], word


def test_pictures_are_bounded_in_number(root):
    course(root, epochs=3 * PICTURES_OF_A_TRAINING, pictures=1)
    drawn = events(root).Images("validation_case_0")
    assert PICTURES_OF_A_TRAINING // 2 <= len(drawn) <= PICTURES_OF_A_TRAINING + 1


def test_pictures_are_bounded_in_time_and_can_be_left_out(root, monkeypatch):
    module = "auto_config.bundle_scripts.training.tracking.tracker"
    monkeypatch.setattr(f"{module}.SECONDS_OF_A_VALIDATION", -1.0)
    course(root, epochs=1, pictures=3)
    assert events(root).Tags()["images"] == []
    monkeypatch.undo()
    course(root, epochs=1, pictures=0)
    assert events(root).Tags()["images"] == []


def wandb_records(content):
    """Records of a run's file: 7 bytes, then blocks of 32 KB as in LevelDB's logs: checksum, length, kind, data."""
    assert content[:4] == b":W&B"
    place, whole, last = 7, b"", {1, 4}
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in last:
            yield whole
            whole = b""


def test_wandb_gets_all_and_stays_on_this_machine(root):
    if importlib.util.find_spec("wandb") is None:
        pytest.skip("wandb is not installed: pip install wandb")
    from wandb.proto import wandb_internal_pb2

    course(root, epochs=2, pictures=1, wandb="offline")
    (run,) = (root / "eval" / "wandb").glob("offline-run-*/run-*.wandb")
    rows, config = {}, {}
    for data in wandb_records(run.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        for item in record.history.item:
            rows.setdefault(item.key or "/".join(item.nested_key), []).append(json.loads(item.value_json))
        for item in [*record.config.update, *record.run.config.update]:
            config[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    assert rows["train_loss"] == [1.0, 2.0]
    assert rows["learning_rate"] == [0.5, 0.25]
    assert rows["mre_mm"] == [2.5, 2.5]
    assert rows["landmark_mre_mm/nose"] == [1.5, 1.5]
    assert config["plan.network"] == "tiny"
    assert config["plan"]["decisions"]["network"]["reason"] == "r"
    assert len(list(run.parent.glob("files/media/images/validation_case_0*.png"))) == 2


def test_mlflow_gets_them_in_the_run_of_monais_handler(root):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    client = mlflow.MlflowClient(f"sqlite:///{root / 'mlruns.db'}")
    experiment = client.create_experiment("e", artifact_location=(root / "mlruns").as_uri())
    run = client.create_run(experiment)
    course(root, epochs=2, pictures=1, handlers=[object(), SimpleNamespace(client=client, cur_run=run)])
    found = client.get_run(run.info.run_id)
    assert found.data.metrics["landmark_mre_mm/nose"] == 1.5
    assert found.data.metrics["landmark_mre_mm/Größe_ 1"] == 4.0
    assert found.data.params["plan.network"] == "tiny"
    assert found.data.params["torch"]
    assert {item.path for item in client.list_artifacts(run.info.run_id)} >= {"plan.json", "validation_case_0"}
    assert len(client.list_artifacts(run.info.run_id, "validation_case_0")) == 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"pictures": -1}, "pictures is -1"),
        ({"wandb": "cloud"}, "'offline'"),
        ({"wandb": "offline"}, "pip install wandb"),
    ],
)
def test_wrong_words_are_one_line_at_the_start(root, given, words, monkeypatch):
    monkeypatch.setattr(writers.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=words):
        course(root, **given)
    assert not (root / "eval").exists()
    assert checked_wandb(None) is None


def test_the_picture_shows_the_worst_landmarks_first():
    image = np.zeros((20, 20, 20))
    image[3, 4, 5] = 1
    true = np.array([[float(k), 4, 5] for k in range(ROWS + 2)])
    true[1] = np.nan
    far = np.arange(ROWS + 2)[:, None] * np.array([[0.0, 1, 0]])
    names = tuple("abcdefgh"[: ROWS + 2])
    picture = prediction_picture(image, np.eye(4), true, true + far, names)
    assert picture.shape == (ROWS * (TILE + 16), 2 * TILE, 3)
    # Both crosses are in the first tile: the true one 5 voxels below the predicted one, 8 pixels a voxel.
    tile = picture[16 : 16 + TILE, :TILE]
    green, red = (np.argwhere((tile == colour).all(-1)).mean(0) for colour in (TRUE, PREDICTED))
    np.testing.assert_allclose(green - red, [5 * TILE / 20, 0], atol=1.5)
    np.testing.assert_allclose(green, [(20 - 0.5 - 4) * 8, (5 + 0.5) * 8], atol=1.5)
    assert prediction_picture(image, np.eye(4), np.full((2, 3), np.nan), np.zeros((2, 3)), ("a", "b")) is None


def test_a_picture_of_two_axes_has_y_downwards():
    picture = prediction_picture(np.eye(16), np.eye(3), np.array([[4.0, 2]]), np.array([[4.0, 8]]), ("a",))
    green, red = (np.argwhere((picture[16:, :TILE] == colour).all(-1)).mean(0) for colour in (TRUE, PREDICTED))
    np.testing.assert_allclose(red - green, [60, 0], atol=1.5)


def test_errors_of_landmarks_are_means_of_the_cases_that_have_them():
    details = np.array([[1.0, np.nan, 3.0], [2.0, np.nan, 5.0]])
    assert landmark_errors(details, ("a", "b")) == {"a": 1.5}
    assert landmark_errors(details[:, :1], ("a", "b")) == {"a": 1.5}


def test_the_commit_says_when_files_differ(tmp_path):
    assert git_commit(tmp_path / "nothing") == "none"
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "a.py").write_text("1")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert code_versions(tmp_path)["git_commit"] == commit
    first = scripts_digest(tmp_path / "scripts")
    (tmp_path / "scripts" / "a.py").write_text("2")
    assert git_commit(tmp_path) == f"{commit}+changes"
    assert scripts_digest(tmp_path / "scripts") != first


def test_a_project_of_wandb_has_no_sign_that_wandb_refuses(tmp_path, monkeypatch):
    begun = []
    fake = SimpleNamespace(Settings=dict, init=lambda **options: begun.append(options["project"]))
    monkeypatch.setitem(sys.modules, "wandb", fake)
    writers.WandbWriter("offline", tmp_path / "eval", r"knee #2: 50% a\b? Größe")
    assert begun == ["knee _2_ 50_ a_b_ Größe"]
