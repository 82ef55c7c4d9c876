"""What `demo` refuses before it starts to work, and the order of its steps, with stand-ins for the steps themselves."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from auto_config.bundle_scripts.points.landmark_files import read_markups, write_markups
from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.commands import demo
from auto_config.datasets.model.properties import read_properties
from auto_config.demo import brains
from auto_config.demo.afids import NAMES
from auto_config.demo.brains import Template
from auto_config.demo.steps import farewell
from auto_config.errors import UserError


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="not an empty folder"):
        demo.demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(UserError, match="not an empty folder"):
        demo.demo(path)


@pytest.mark.parametrize(("options", "message"), [({"cases": 9}, "--cases is 9"), ({"minutes": 0}, "--minutes is 0")])
def test_too_small_numbers_are_refused(options: dict[str, int], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        demo.demo(tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    with pytest.raises(UserError, match=r"pip install nilearn matplotlib$"):
        demo.demo(tmp_path / "new")


def stand_ins(monkeypatch: pytest.MonkeyPatch, template: Template, train_status: int = 0) -> list[tuple[str, Any]]:
    """Put functions into the place of the five steps: a model that is 3 mm off, and training that ends as told."""
    steps: list[tuple[str, Any]] = []

    def create(source: Path, bundle: Path, **options: Any) -> int:
        steps.append(("create", (sorted(path.name for path in (source / "images").iterdir()), bundle.name, options)))
        return 0

    def train(bundle: Path, **options: Any) -> int:
        steps.append(("train", options))
        return train_status

    def calibrate(bundle: Path, **options: Any) -> int:
        steps.append(("calibrate", (bundle.name, options)))
        return 0

    def predict(bundle: Path, images: Path, output: Path) -> int:
        steps.append(("predict", sorted(path.name for path in images.iterdir())))
        output.mkdir()
        for path in (images.parent / "landmarks").iterdir():
            truth = read_markups(path)
            # In another order, as a bundle may have its own.
            off = LandmarkSet(truth.names[::-1], truth.points[::-1] + [3.0, 0, 0], truth.status)
            write_markups(output / path.name, off)
        return 0

    def evaluate(predictions: Path, source: Path) -> int:
        steps.append(("evaluate", source.name))
        metrics = {"mre_mm": {"mean": 3.0}, "mean_shape_baseline": {"mre_mm": {"mean": 9.0}}}
        (predictions / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
        return 0

    for function in (create, train, calibrate, predict, evaluate):
        monkeypatch.setattr(demo, function.__name__, function)
    monkeypatch.setattr(brains, "load_template", lambda: template)
    return steps


def test_the_way_goes_through_the_commands(
    monkeypatch: pytest.MonkeyPatch, template: Template, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = stand_ins(monkeypatch, template)
    titles: list[str] = []
    draw = pytest.importorskip("auto_config.demo.picture").draw

    def noted(path: Path, columns: Any, *, title: str) -> None:
        titles.append(title)
        for case, _ in columns:
            np.testing.assert_allclose(case.prediction.points - case.truth.points, [[3.0, 0, 0]] * 32, atol=1e-6)
        draw(path, columns[:1], title=title)

    monkeypatch.setattr("auto_config.demo.picture.draw", noted)
    assert demo.demo(tmp_path / "new", minutes=2.5, cases=10, seed=4) == 0
    names = [f"brain_{index:03d}.nii.gz" for index in range(10)]
    # Slices of a brain that is nobody's.
    options = {"network": "tiny", "test_fraction": 0.0, "atlas": "nearest", "seed": 4}
    assert steps == [
        ("create", (names[:8], "brain_mri_afids32_demo", options)),
        ("train", {"time_budget": "2.5m", "calibrate": False}),
        ("calibrate", ("brain_mri_afids32_demo", {"time_budget": "1.25m"})),
        ("predict", names[8:]),
        ("evaluate", "test"),
    ]
    assert titles == ["Synthetic brains, 2 test cases: mean error 3.00 mm (mean shape: 9.00 mm)"]
    assert (tmp_path / "new" / "demo.png").stat().st_size > 10_000
    # The atlas of the bundle says what each fiducial is; which are pairs is found, as in data of one's own.
    (declared,) = (tmp_path / "new").rglob("landmarks.json")
    listed, properties = read_properties(declared)
    assert (listed, set(properties.descriptions), properties.pairs) == (NAMES, set(NAMES), None)
    assert properties.descriptions["L MB"] == "left mammillary body"
    said = " ".join(capsys.readouterr().out.split())
    assert "synthetic data" in said
    assert said.endswith("auto_config inspect YOUR_FOLDER")


def test_a_step_that_fails_ends_the_demo_with_its_status(
    monkeypatch: pytest.MonkeyPatch, template: Template, tmp_path: Path
) -> None:
    steps = stand_ins(monkeypatch, template, train_status=130)
    assert demo.demo(tmp_path, cases=10) == 130
    assert [name for name, _ in steps] == ["create", "train"]


@pytest.mark.parametrize(("mean", "few"), [(3.0, False), (4.5, False), (4.6, True), (12.0, True)])
def test_a_slow_machine_is_told_to_take_more_time(
    mean: float, few: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = {"mre_mm": {"mean": mean}, "mean_shape_baseline": {"mre_mm": {"mean": 9.0}}}
    farewell(Console(width=200), tmp_path / "demo.png", tmp_path / "bundle", metrics, minutes=2.5)
    said = capsys.readouterr().out
    assert ("2.5 minutes are too few for this machine" in said) == few
    assert ("auto_config demo NEW_FOLDER --minutes 10\n" in said) == few
    assert said.endswith("auto_config inspect YOUR_FOLDER\n")
