"""Predictions in Slicer without a server: bundles of a folder, the program, its command and its result, labels."""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from LandmarkBundlesLib.atlas import AtlasError, atlas_of_server, read_atlas
from LandmarkBundlesLib.bundle_folders import bundles_in, read_bundle
from LandmarkBundlesLib.label_files import case_name, label_file, save_label
from LandmarkBundlesLib.landmarks import DEFINED, MISSING, Landmark, MarkupsError, read_markups
from LandmarkBundlesLib.predictions import (
    Options,
    PredictionError,
    command,
    image_file,
    progress,
    read_outcome,
    set_by_person,
)
from LandmarkBundlesLib.programs import ProgramError, find_program
from LandmarkBundlesLib.runs import Run, printed, why
from LandmarkBundlesLib.verdicts import Verdict, read_verdict
from slicer_stand_ins import write_nrrd

from auto_config.datasets.reading import read_dataset

DEMO = Path(__file__).parents[2] / "bundles" / "brain_mri_afids32_demo"


def make_bundle(root, name="skull", *, names=("AC", "PC"), channels=1, dims=3, weights=True):
    """The files that the list reads, and nothing that could predict."""
    (root / "configs").mkdir(parents=True)
    image = {"modality": "CT", "num_channels": channels}
    documents = {
        "metadata": {"name": name, "version": "1.2", "network_data_format": {"inputs": {"image": image}}},
        "inference": {},
        "landmarks": {"spatial_dims": dims, "landmarks": [{"name": one} for one in names]},
    }
    for file, document in documents.items():
        (root / "configs" / f"{file}.json").write_text(json.dumps(document), encoding="utf-8")
    (root / "models").mkdir()
    if weights:
        (root / "models" / "model.pt").write_bytes(b"")
    return root


def test_the_list_of_bundles(tmp_path):
    make_bundle(tmp_path / "b")
    make_bundle(tmp_path / "new", "New", weights=False)
    make_bundle(tmp_path / "xray", "pictures", dims=2)
    make_bundle(tmp_path / "two", "two channels", channels=2)
    (tmp_path / "half" / "configs").mkdir(parents=True)
    (tmp_path / "half" / "configs" / "metadata.json").write_text("{}")
    (make_bundle(tmp_path / "odd", "odd") / "configs" / "inference.json").write_text("{")
    (make_bundle(tmp_path / "empty", "empty") / "configs" / "landmarks.json").write_text("{}")
    (tmp_path / "scans").mkdir()  # no bundle, and none was meant
    found = {bundle.name: bundle for bundle in bundles_in(tmp_path)}
    assert list(found) == sorted(found, key=str.lower)
    assert found["skull"].summary == "2 landmarks, CT, version 1.2, not calibrated: AC, PC"
    problems = {name: bundle.problem for name, bundle in found.items() if bundle.problem}
    assert problems.keys() == {"New", "pictures", "two channels", "half", "odd", "empty"}
    assert "has no models/model.pt; train it" in problems["New"]
    assert "is for pictures" in problems["pictures"]
    assert "images of 2 channels" in problems["two channels"]
    assert "has no configs/inference.json" in problems["half"]
    assert "is not JSON" in problems["odd"]
    assert "do not say which landmarks" in problems["empty"]
    assert found["New"].title == "New (cannot be used)"
    assert [bundle.name for bundle in bundles_in(tmp_path / "b")] == ["skull"]  # the folder is a bundle itself
    with pytest.raises(OSError, match="nowhere"):
        bundles_in(tmp_path / "nowhere")


def test_the_bundles_of_the_repository_can_be_chosen():
    found = {bundle.path.name: bundle for bundle in bundles_in(DEMO.parent)}
    assert found.keys() == {folder.name for folder in DEMO.parent.iterdir() if folder.is_dir()}
    assert not [bundle.problem for bundle in found.values() if bundle.problem]
    assert (len(found[DEMO.name].landmarks), found[DEMO.name].landmarks[0]) == (32, "AC")
    assert len(found["mouse_skull_ct_51"].landmarks) == 51


def test_weights_of_an_ensemble(tmp_path):
    root = make_bundle(tmp_path / "b")
    (root / "models" / "ensemble.json").write_text('{"files": ["fold_0/model.pt"]}')
    assert "has no models/fold_0/model.pt" in read_bundle(root).problem


def test_the_atlas(tmp_path):
    root = make_bundle(tmp_path / "b", names=("AC", "PC"))
    assert read_atlas(root) == {}
    table = {"spatial_dims": 3, "landmarks": [{"name": "AC", "description": "of the rater"}, {"name": "PC"}]}
    (root / "configs" / "landmarks.json").write_text(json.dumps(table))
    assert read_atlas(root)["AC"].definition == "of the rater"
    (root / "atlas").mkdir()
    (root / "atlas" / "ac.png").write_bytes(b"x")
    (tmp_path / "secret.png").write_bytes(b"x")
    rows = [
        {"name": "AC", "definition": "", "pictures": ["ac.png", "gone.png", "../../secret.png"]},
        {"name": "PC", "definition": "posterior commissure"},
    ]
    (root / "atlas" / "atlas.json").write_text(json.dumps({"landmarks": rows}))
    atlas = read_atlas(root)
    assert atlas["AC"].pictures == ((root / "atlas" / "ac.png").resolve(),)
    assert (atlas["AC"].definition, atlas["PC"].definition) == ("of the rater", "posterior commissure")
    for text in ("{", "[]", '{"landmarks": [1]}', '{"landmarks": [{"definition": "x"}]}'):
        (root / "atlas" / "atlas.json").write_text(text)
        with pytest.raises(AtlasError, match="is no atlas"):
            read_atlas(root)


def test_definitions_of_a_server():
    assert atlas_of_server([{"name": "AC", "definition": "x"}, {"name": "PC"}, 3]).keys() == {"AC"}
    assert atlas_of_server(None) == atlas_of_server("AC") == atlas_of_server({"a": 1}) == {}


def test_where_the_program_is(tmp_path):
    nothing = {"PATH": str(tmp_path)}
    with pytest.raises(ProgramError, match="no auto_config on the search path"):
        find_program("", nothing)
    with pytest.raises(ProgramError, match="is not there"):
        find_program(str(tmp_path / "gone"), nothing)
    with pytest.raises(ProgramError, match="neither auto_config nor a Python"):
        find_program(str(tmp_path), nothing)
    (tmp_path / "bin").mkdir()
    python, program = tmp_path / "bin" / "python", tmp_path / "bin" / "auto_config"
    python.symlink_to(sys.executable)
    assert find_program(str(tmp_path), nothing) == (str(python), "-m", "auto_config")
    assert find_program(f'"{python}"', nothing) == (str(python), "-m", "auto_config")
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_program(str(tmp_path), nothing) == (str(program),)
    assert find_program(str(program), nothing) == (str(program),)
    assert find_program(" ", {"PATH": str(program.parent)}) == (str(program),)


def test_the_command(tmp_path):
    plain = command(("auto_config",), Path("b"), tmp_path, Options())
    assert plain[1:5] == ["predict", "b", str(tmp_path / "case.nrrd"), str(tmp_path / "results")]
    assert plain[5:] == ["--overwrite", "--level", "0.9"]
    fixed = [Landmark("AC", DEFINED, (1.0, 2.0, 3.0))]
    options = Options(level=0.5, device="cuda", regions=True, all_present=True)
    words = command(("p", "-m", "auto_config"), Path("b"), tmp_path, options, fixed)
    assert words[8:] == ["--level", "0.5", "--device", "cuda", "--regions", "--all_present", "--fixed", words[-1]]
    assert read_markups(Path(words[-1]).read_text()) == fixed


POINT = st.tuples(*[st.floats(-500, 500)] * 3)


@given(st.lists(POINT, min_size=1, max_size=6), st.sets(st.integers(0, 5)), st.floats(0.01, 50))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_what_a_person_moved(positions, moved, distance):
    served = [Landmark(f"L{i}", DEFINED, p) for i, p in enumerate(positions)]
    shown = [
        Landmark(p.name, DEFINED, (p.position[0] + distance, *p.position[1:])) if i in moved else p
        for i, p in enumerate(served)
    ]
    assert set_by_person(served, shown) == [p for i, p in enumerate(shown) if i in moved]


def test_what_a_person_set_before_or_said_to_be_missing():
    served = [Landmark("A", DEFINED, (0.0, 0.0, 0.0)), Landmark("B", DEFINED, (1.0, 0.0, 0.0)), Landmark("C", MISSING)]
    assert set_by_person(served, served) == []
    assert set_by_person(served, served, before=("B",)) == [served[1]]
    shown = [Landmark("A", MISSING), served[1], Landmark("C")]  # C is being placed
    assert set_by_person(served, shown) == [Landmark("A", MISSING)]
    many = [*served, Landmark("A", DEFINED, (9.0, 9.0, 9.0))]
    assert [p.position for p in set_by_person(served, many)] == [(0.0, 0.0, 0.0), (9.0, 9.0, 9.0)]
    assert set_by_person([], [Landmark("A", DEFINED, (0.0, 0.0, 0.0))]) != []  # placed by hand


def test_the_verdict_in_words():
    assert read_verdict(None) == read_verdict({}) == read_verdict({"verdict": ""}) == Verdict()
    assert Verdict().html == "no verdict: an earlier version made this bundle"
    html = read_verdict({"verdict": "failed", "reasons": ["1 < 2"]}).html
    assert html.startswith('<b style="color:#c62828">failed</b>: do not use the points as they are<br>- 1 &lt; 2')


def test_labels_lie_where_create_finds_them(tmp_path):
    (tmp_path / "scans").mkdir()
    (tmp_path / "set" / "images").mkdir(parents=True)
    pc = Landmark("PC", DEFINED, (2.0, 2.0, 2.0))
    landmarks = [Landmark("AC", DEFINED, (1.0, 2.0, 3.0), "confidence 0.9"), pc, Landmark("X")]
    for image in (tmp_path / "scans" / "anna.b.nrrd", tmp_path / "set" / "images" / "ben.nrrd"):
        write_nrrd(image, np.arange(1000).reshape(10, 10, 10), np.eye(4))
        save_label(label_file(image), landmarks, ("AC", "PC", "X"))
    (case,), _ = cases_of(tmp_path / "scans")
    assert (case.name, case.landmarks.points[0].tolist()) == ("anna.b", [-1.0, -2.0, 3.0])
    (case,), names = cases_of(tmp_path / "set")
    assert (case.name, names) == ("ben", ("AC", "PC"))  # X is not decided, and not stored
    assert sorted(path.name for path in (tmp_path / "scans" / "landmarks").iterdir()) == ["anna.b.mrk.json"]
    with pytest.raises(MarkupsError, match="is no landmark of this bundle"):
        save_label(tmp_path / "x.mrk.json", landmarks, ("AC",))
    with pytest.raises(MarkupsError, match="no landmark is placed"):
        save_label(tmp_path / "x.mrk.json", [Landmark("AC")], ("AC",))
    assert not list(tmp_path.glob("*x.mrk.json*"))


def cases_of(folder):
    dataset, problems = read_dataset(folder)
    assert not [problem for problem in problems if problem.severity == "error"]
    return dataset.cases, dataset.names


def test_names_of_scans():
    assert [case_name(Path(name)) for name in ("a.nii.gz", "a.b.NRRD", "a.mha", "a")] == ["a", "a.b", "a", "a"]


def finished(run, seconds=120):
    end = time.monotonic() + seconds
    while run.status() is None:
        assert time.monotonic() < end, run.lines()
        time.sleep(0.05)
    return run.status()


def test_a_program_that_fails_says_why(tmp_path):
    code = (
        "import sys; print('note: \\x1b[31mred\\x1b[0m'); print('a\\rb'); "
        "print('error: no such file', file=sys.stderr); sys.exit(2)"
    )
    run = Run([sys.executable, "-c", code], tmp_path / "log", os.environ)
    assert finished(run) == 2
    assert run.lines() == ["note: red", "b", "error: no such file"]
    assert why(run.lines(), 2) == "no such file"
    assert progress(run.lines(), 7.4) == "Predicting, 7 s (note: red)"
    assert why([], 9) == "it ended with status 9 and said nothing"
    assert why(["Killed"], 137) == "Killed"
    assert printed(b"\xff\n\n") == ["�"]
    with pytest.raises(ProgramError, match="cannot be started"):
        Run([str(tmp_path / "gone")], tmp_path / "log", os.environ)
    with pytest.raises(PredictionError, match="left no result"):
        read_outcome(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="process groups of POSIX")
def test_a_cancelled_program_ends_with_its_children(tmp_path):
    child = (
        "import os, signal, time; signal.signal(15, signal.SIG_IGN); print(os.getpid(), flush=True); time.sleep(600)"
    )
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    run = Run([sys.executable, "-c", code], tmp_path / "log", os.environ)
    end = time.monotonic() + 60
    while not run.lines():
        assert time.monotonic() < end
        time.sleep(0.05)
    run.cancel()
    assert run.status() is not None
    pid = int(run.lines()[0])
    while alive(pid):
        assert time.monotonic() < end
        time.sleep(0.05)
    run.cancel()  # once more harms nobody


def alive(pid):
    """Whether a process runs; one that has ended and that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_demo_bundle_predicts_a_volume_of_slicer(tmp_path):
    """The real program on the real bundle: the frame of the volume, fixed points, level, verdict."""
    affine = np.array([[0.0, -4.0, 0, 60], [4.5, 0, 0, -70], [0, 0, 5.0, -50], [0, 0, 0, 1]])
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in (30, 28, 22)], indexing="ij"), -1)
    world = grid @ affine[:3, :3].T + affine[:3, 3]
    voxels = 100 * np.exp(-((world / (50, 60, 45)) ** 2).sum(-1)) + np.random.default_rng(0).normal(
        0, 1, grid.shape[:3]
    )
    write_nrrd(image_file(tmp_path), voxels, affine)
    fixed = [Landmark("AC", DEFINED, (1.0, -20.0, 3.0)), Landmark("PC", MISSING)]
    program = (sys.executable, "-m", "auto_config")
    words = command(program, DEMO, tmp_path, Options(device="cpu", level=0.5), fixed)
    run = Run(words, tmp_path / "log", {**os.environ, "OMP_NUM_THREADS": "1"})
    assert finished(run, 600) == 0, run.lines()
    outcome = read_outcome(tmp_path, run.lines())
    bundle = read_bundle(DEMO)
    assert [point.name for point in outcome.landmarks] == list(bundle.landmarks)
    assert [(p.status, p.position) for p in outcome.landmarks[:2]] == [(p.status, p.position) for p in fixed]
    assert all(point.description.startswith("confidence ") for point in outcome.landmarks[2:])
    placed = np.array([point.position for point in outcome.landmarks if point.status == DEFINED])
    corners = np.array([world.reshape(-1, 3).min(0), world.reshape(-1, 3).max(0)]) * (-1, -1, 1)
    margin = 10.0
    assert (placed > corners.min(0) - margin).all() and (placed < corners.max(0) + margin).all()
    assert outcome.verdict.word in ("ok", "check", "failed")
    assert outcome.regions is None
