"""`export`: the files give what the networks give, and a short program without PyTorch finds the same points."""

import importlib
import itertools
import json
import runpy
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_tools import edit

from auto_config.bundle.opened import open_bundle
from auto_config.bundle_scripts.methods.decoders import ArgmaxDecoder
from auto_config.commands.export import export
from auto_config.errors import UserError
from auto_config.exporting import checks, onnx_files, packages
from auto_config.exporting.stages import in_float32, stage_networks, with_networks

pytest.importorskip("onnxruntime")

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "onnx_predict.py"
FORBIDDEN = ("torch", "monai", "auto_config", "scipy", "ignite", "itk", "PIL", "nrrd", "SimpleITK")
POINTS_MM = 0.02
"""The example computes partly in double precision where PyTorch has single."""


@pytest.fixture(scope="module")
def exported(two_stages, one_stage, cases, tmp_path_factory):
    """Folders of exports, and what `export` printed."""
    folders = {}
    for name, root in (("two", two_stages), ("one", one_stage)):
        folders[name] = tmp_path_factory.mktemp("exports") / name
        image = cases / "images" / "c1.nii.gz"
        assert export(root, folders[name], format="all" if name == "two" else "onnx", image=image) == 0
    return folders


def test_one_file_for_each_stage_and_member(exported):
    assert sorted(path.name for path in exported["two"].iterdir()) == [
        "coarse.onnx",
        "coarse.ts",
        "fine.onnx",
        "fine.ts",
        "pipeline.json",
    ]
    assert sorted(path.name for path in exported["one"].iterdir()) == ["fine_0.onnx", "fine_1.onnx", "pipeline.json"]


@pytest.mark.parametrize("name", ["two", "one"])
def test_any_number_of_patches_gives_what_the_network_gives(exported, name, two_stages, one_stage):
    import onnxruntime

    opened = open_bundle({"two": two_stages, "one": one_stage}[name], device="cpu")
    for one in stage_networks(opened):
        session = onnxruntime.InferenceSession(str(exported[name] / f"{one.name}.onnx"))
        assert [value.shape[1:] for value in session.get_inputs()] == [[1, *one.size]]
        for count in (1, 3):
            patches = torch.randn(count, 1, *one.size)
            with torch.inference_mode():
                expected = one.network(patches).numpy()
            (found,) = session.run(None, {"image": patches.numpy()})
            np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


def run_example(folder, *images, forbidden=FORBIDDEN):
    """Names and points, from a process that cannot import what the example must not need."""
    code = (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({forbidden})); sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    line = [sys.executable, "-W", "error", "-c", code, EXAMPLE, folder, *images]
    done = subprocess.run([str(word) for word in line], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    return [row[0] for row in rows], np.array([[float(x) for x in row[1:]] for row in rows])


@pytest.mark.parametrize("name", ["two", "one"])
def test_the_example_finds_the_points_of_the_bundle(exported, name, two_stages, one_stage, cases):
    root = {"two": two_stages, "one": one_stage}[name]
    opened = open_bundle(root, device="cpu", plausibility=False if name == "two" else None)
    image = cases / "odd.nii.gz"
    expected = opened.predict(opened.preprocess(image))["result"]["landmarks"]
    names, found = run_example(exported[name], image)
    assert names == [item["name"] for item in expected]
    points = np.array([item["world"] for item in expected])
    assert np.linalg.norm(found[:, :3] - points, axis=1).max() <= POINTS_MM
    np.testing.assert_allclose(found[:, 3], [item["confidence"] for item in expected], atol=2e-3)
    # The points are not all in one place, where any program would find them.
    assert np.ptp(points, axis=0).min() > 1


@pytest.mark.parametrize("given", ["affine", "spacing"])
def test_of_arrays_the_example_needs_numpy_and_onnxruntime_alone(exported, two_stages, cases, tmp_path, given):
    """An oblique array with permuted axes, with its affine; and one of a channel axis, with its spacing."""
    image = nib.load(cases / ("odd.nii.gz" if given == "affine" else "images/c1.nii.gz"))
    voxels, path = image.get_fdata(dtype=np.float32), tmp_path / "scan.npz"
    if given == "affine":
        np.savez(path, image=voxels, affine=image.affine)
    else:
        np.savez(path, image=voxels[None], spacing=image.header.get_zooms())
    opened = open_bundle(two_stages, device="cpu", plausibility=False)
    expected = opened.predict(opened.preprocess(path))["result"]["landmarks"]
    names, found = run_example(exported["two"], path, forbidden=(*FORBIDDEN, "nibabel"))
    assert names == [item["name"] for item in expected]
    points = np.array([item["world"] for item in expected])
    assert np.linalg.norm(found[:, :3] - points, axis=1).max() <= POINTS_MM


def test_the_example_turns_volumes_as_nibabel_does():
    upright = runpy.run_path(str(EXAMPLE))["upright"]
    rng = np.random.default_rng(4)
    voxels = rng.normal(size=(4, 5, 6)).astype(np.float32)
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((-1, 1), repeat=3):
            affine = np.eye(4)
            affine[:3, :3] = np.eye(3)[list(axes)] * signs * [0.5, 2, 3] + rng.uniform(-0.1, 0.1, (3, 3))
            affine[:3, 3] = rng.normal(size=3)
            expected = nib.as_closest_canonical(nib.Nifti1Image(voxels, affine))
            found, place = upright(voxels[None], affine)
            np.testing.assert_array_equal(found[0], expected.get_fdata(dtype=np.float32))
            np.testing.assert_allclose(place, expected.affine, atol=1e-6)


@pytest.mark.parametrize(("link", "sharpness"), [("softmax", 1.0), ("sigmoid", [6.0, 5.0, 2.0])])
def test_the_example_decodes_as_the_bundle(link, sharpness):
    decode = runpy.run_path(str(EXAMPLE))["decode"]
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(5, 1, 18, 14, 11, generator=generator)
    logits = 3 * torch.nn.functional.avg_pool3d(noise, 3, stride=1, padding=1)[:, 0]
    prior = torch.randn(5, 18, 14, 11, generator=generator)
    points, confidence, _ = ArgmaxDecoder(link=link, sharpness=sharpness)(logits, prior)
    rule = {"link": link, "sharpness": sharpness, "window": 1.5, "radius": 5, "rounds": 12}
    found = decode(logits.numpy(), rule, prior.numpy())
    np.testing.assert_allclose(found[0], points, atol=1e-4)
    np.testing.assert_allclose(found[1], confidence, atol=1e-5)


def test_the_example_is_short():
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= 170


def test_an_export_is_replaced_only_when_asked(exported, two_stages, tmp_path):
    with pytest.raises(UserError, match="--overwrite"):
        export(two_stages, exported["two"])
    (tmp_path / "notes.txt").write_text("mine")
    others = ["fine.onnx", "fine_tuned.ts", "pipeline.json"]
    for name in (*others, "fine_3.ts"):
        (tmp_path / name).write_text("old")
    assert export(two_stages, tmp_path, format="torchscript", overwrite=True) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["coarse.ts", "fine.ts", "notes.txt", *others])
    with pytest.raises(UserError, match="is a file"):
        export(two_stages, tmp_path / "notes.txt")
    with pytest.raises(UserError, match="--image"):
        export(two_stages, tmp_path / "new", image=tmp_path / "no.nii.gz")
    assert not (tmp_path / "new").exists()


def test_a_missing_package_is_one_line_with_the_command(two_stages, tmp_path, monkeypatch):
    monkeypatch.setattr(packages, "find_spec", lambda name: None if name == "onnxruntime" else name)
    with pytest.raises(UserError, match=r"ONNX needs onnxruntime, not installed here; pip install onnxruntime$"):
        export(two_stages, tmp_path / "new")
    assert not (tmp_path / "new").exists()


class Other(torch.nn.Module):
    """A network with a small error."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, image):
        return self.network(image) * 1.01 + 0.5


def test_an_export_that_differs_is_refused_and_not_left(two_stages, cases, tmp_path, monkeypatch):
    opened = open_bundle(two_stages, device="cpu")
    one = stage_networks(opened)[0]
    with pytest.raises(UserError, match="differs by"):
        checks.share_apart(one, Other(one.network))
    monkeypatch.setattr(onnx_files, "_exported", onnx_files._traced)  # the other way takes its time
    monkeypatch.setattr(onnx_files.OnnxNetwork, "forward", lambda self, image: torch.zeros(len(image), 4, *one.size))
    out = tmp_path / "out"
    out.mkdir()
    (out / "fine.onnx").write_text("good")
    with pytest.raises(UserError, match="cannot be written as ONNX"):
        export(two_stages, out, image=cases / "images" / "c1.nii.gz", overwrite=True)
    assert [path.read_text() for path in out.iterdir()] == ["good"]


def test_points_that_differ_are_refused(two_stages, cases):
    opened = open_bundle(two_stages, device="cpu")
    case = checks.Case.of(opened, [cases / "images" / "c1.nii.gz"])
    assert case.mm_apart(opened, lambda one: one.network, "itself") == 0
    shifted = lambda one: torch.nn.Sequential(one.network, Rolled())  # noqa: E731
    with pytest.raises(UserError, match=r"rolled: a point of .*c1.nii.gz is [\d.]+ mm off"):
        case.mm_apart(opened, shifted, "rolled")


class Rolled(torch.nn.Module):
    """Moves heatmaps by a voxel."""

    def forward(self, image):
        return image.roll(1, dims=-1)


def test_what_cannot_be_scripted_is_said(two_stages, tmp_path, monkeypatch):
    real = stage_networks(open_bundle(two_stages, device="cpu"))[0]
    monkeypatch.setattr(torch.jit, "script", lambda network: (_ for _ in ()).throw(RuntimeError("star\nexpressions")))
    (tmp_path / "fine.ts").write_text("old")
    with pytest.raises(UserError, match=r"the network of coarse cannot be scripted \(star expressions\); nothing was"):
        export(two_stages, tmp_path, format="torchscript", overwrite=True)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
    assert real.name == "coarse"


def test_other_networks_take_the_place_of_stages_and_leave_the_bundle_alone(one_stage):
    opened = open_bundle(one_stage, device="cpu")
    other = with_networks(opened, lambda one: Other(one.network))
    assert [type(member.stages["fine"]).__name__ for member in other.network.members] == ["Other", "Other"]
    assert [type(member.stages["fine"]).__name__ for member in opened.network.members] == ["DynUNet", "DynUNet"]
    assert other.network.shape is opened.network.members[0].shape


def test_pipeline_is_plain_numbers(exported, two_stages):
    content = json.loads((exported["two"] / "pipeline.json").read_text(encoding="utf-8"))
    config = json.loads((two_stages / "configs" / "inference.json").read_text(encoding="utf-8"))
    assert content["spacing"] == config["spacing"]
    assert [stage["factor"] for stage in content["stages"]] == [config["coarse_factor"], [1, 1, 1]]
    assert content["mirror"] == [1, 0, 2, 3]
    assert "$" not in json.dumps(content)
    assert "@" not in json.dumps(content)


def test_exports_are_compared_with_points_in_float32(two_stages, copy_of, cases, monkeypatch):
    root = copy_of(two_stages)
    exact = open_bundle(root, device="cpu")
    edit(root / "configs" / "inference.json", lambda content: content.update(amp=True))
    half = open_bundle(root, device="cpu")
    inferers = importlib.import_module(type(half.inferer).__mro__[1].__module__)
    module = importlib.import_module(inferers.HalfPrecisionNetwork.__module__)
    monkeypatch.setattr(module, "half_type_of", lambda _: torch.bfloat16)
    data = exact.preprocess(cases / "images" / "c1.nii.gz")
    with torch.inference_mode():
        peaks = [one.find(data["image"].as_tensor(), one.network).peaks for one in (exact, half, in_float32(half))]
    assert not torch.equal(peaks[0].points, peaks[1].points)
    torch.testing.assert_close(peaks[0].points, peaks[2].points, rtol=0, atol=0)
    torch.testing.assert_close(peaks[0].points, peaks[1].points, rtol=0, atol=0.2)
