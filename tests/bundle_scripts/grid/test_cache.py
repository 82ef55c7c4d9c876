"""The cache of preprocessed images: when it is used, when it is not, and what a killed process leaves."""

import importlib.util
import multiprocessing
import os
import shutil
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, LoadImaged, Orientationd, Spacingd

from auto_config.bundle_scripts.grid import cache as cache_module
from auto_config.bundle_scripts.grid.cache import CachedTransformd, cache_key, code_digest, describe
from auto_config.bundle_scripts.grid.transforms import CoarseViewd, LowPassd
from auto_config.bundle_scripts.methods.decoders import ArgmaxDecoder


def write(path, value=0.0):
    array = np.random.default_rng(0).normal(size=(6, 5, 4)).astype(np.float32) + value
    nib.save(nib.Nifti1Image(array, np.diag([1.0, 2, 3, 1])), path)
    return str(path)


class Counting(Compose):
    """The transforms of a bundle, and how often they ran."""

    runs = 0

    def __call__(self, data, *args, **kwargs):
        type(self).runs += 1
        return super().__call__(data, *args, **kwargs)


def transform(spacing=(1.0, 2.0, 6.0), kind=Counting):
    return kind(
        [
            LoadImaged("image", ensure_channel_first=True),
            LowPassd("image", spacing=spacing),
            CoarseViewd("image", name="coarse_image", factor=[2, 2, 2]),
        ]
    )


def cached(folder, **numbers):
    return CachedTransformd(["image", "coarse_image"], transform(**numbers), str(folder))


def entries(folder):
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


def test_made_once_and_the_same_from_disk(tmp_path):
    image = write(tmp_path / "a.nii.gz")
    direct = CachedTransformd(["image", "coarse_image"], transform(), None)({"image": image})
    Counting.runs = 0
    for _ in range(3):
        data = cached(tmp_path / "cache")({"image": image, "label": {"tip": [1, 2, 3]}})
        assert data["label"] == {"tip": [1, 2, 3]}
        for key in ("image", "coarse_image"):
            torch.testing.assert_close(data[key].as_tensor(), direct[key].as_tensor())
            torch.testing.assert_close(data[key].affine, direct[key].affine)
            np.testing.assert_array_equal(data[key].meta["original_affine"], direct[key].meta["original_affine"])
    assert Counting.runs == 1
    assert len(entries(tmp_path / "cache")) == 1
    # What a caller does to the image does not reach the disk.
    data["image"][:] = 7
    assert not (cached(tmp_path / "cache")({"image": image})["image"] == 7).any()


def test_what_one_process_made_the_next_one_finds(tmp_path):
    """MONAI's transforms grow attributes at their first call: the key before it and after it has to be the same."""
    images = [write(tmp_path / name) for name in ("a.nii.gz", "b.nii.gz")]

    def fresh():
        turned = [LoadImaged("image", ensure_channel_first=True), Orientationd("image", axcodes="LPS", labels=None)]
        return CachedTransformd(
            ["image"], Compose([*turned, Spacingd("image", pixdim=(2.0, 2.0, 3.0))]), str(tmp_path / "c")
        )

    first = fresh()
    for image in images:
        first({"image": image})
    assert [fresh().is_cached({"image": image}) for image in images] == [True, True]
    assert [first.is_cached({"image": image}) for image in images] == [True, True]
    assert len(entries(tmp_path / "c")) == 2


def test_points_are_never_cached(tmp_path):
    image = write(tmp_path / "a.nii.gz")
    cached(tmp_path / "cache")({"image": image, "label": {"tip": [1.0, 2.0, 3.0]}})
    again = cached(tmp_path / "cache")({"image": image, "label": {"tip": "absent"}})
    assert again["label"] == {"tip": "absent"}
    text = b"".join(p.read_bytes() for p in (tmp_path / "cache").rglob("*.json"))
    assert b"tip" not in text


def test_a_changed_file_is_made_again(tmp_path):
    image = write(tmp_path / "a.nii.gz")
    first = cached(tmp_path / "cache")({"image": image})["image"].clone()
    write(tmp_path / "a.nii.gz", value=5.0)
    os.utime(image, ns=(1, 1))
    second = cached(tmp_path / "cache")({"image": image})["image"]
    assert float((second - first).mean()) == pytest.approx(5.0, abs=1e-3)
    assert len(entries(tmp_path / "cache")) == 2


def test_a_changed_parameter_is_another_entry(tmp_path):
    image = write(tmp_path / "a.nii.gz")
    keys = ["image"]
    same = cache_key(image, transform(), keys, "code")
    assert cache_key(image, transform(), keys, "code") == same
    assert cache_key(image, transform((1.0, 2.0, 6.1)), keys, "code") != same
    assert cache_key(image, transform(), ["image", "coarse_image"], "code") != same
    assert cache_key(image, transform(), keys, "other code") != same
    assert cache_key(image, LoadImaged("image", dtype=np.float32), keys, "code") != cache_key(
        image, LoadImaged("image", dtype=np.float64), keys, "code"
    )


@pytest.mark.parametrize(
    "name", ["grid/transforms.py", "grid/background.py", "grid/grids.py", "images/nrrd_header.py", "files/regular.py"]
)
def test_edited_code_makes_another_entry(tmp_path, name):
    """As a person edits the copy of a bundle: the same parameters, other voxels."""
    package = tmp_path / "edited"
    shutil.copytree(Path(cache_module.__file__).parents[1], package, ignore=shutil.ignore_patterns("__pycache__"))
    assert code_digest(package) == code_digest(Path(cache_module.__file__).parents[1])
    (package / name).write_text((package / name).read_text() + "\n# edited\n")
    assert code_digest(package) != code_digest(Path(cache_module.__file__).parents[1])


def test_the_version_of_monai_makes_another_entry(monkeypatch):
    folder = Path(cache_module.__file__).parents[1]
    before = code_digest(folder)
    monkeypatch.setattr("monai.__version__", "0.0.1")
    assert code_digest(folder) != before


def test_the_code_is_part_of_what_is_looked_up(tmp_path, monkeypatch):
    image = write(tmp_path / "a.nii.gz")
    cached(tmp_path / "cache")({"image": image})
    assert cached(tmp_path / "cache").is_cached({"image": image})
    monkeypatch.setattr(cache_module, "code_digest", lambda _: "edited")
    assert not cached(tmp_path / "cache").is_cached({"image": image})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.float32, np.float64),
        (torch.float32, torch.float64),
        (np.dtype("f4"), np.dtype("f8")),
        (Path("a"), Path("b")),
        (np.int64(1), np.int64(2)),
        ({1, 2}, {1, 3}),
        (np.sum, np.mean),
        ([1, 2], [2, 1]),
        (torch.ones(2), torch.zeros(2)),
        ({"a": None}, {"a": 0}),
    ],
)
def test_a_description_tells_parameters_apart(one, other):
    assert describe(one) == describe(one)
    assert describe(one) != describe(other)


def test_the_name_of_the_package_does_not_matter(tmp_path):
    """Two bundles, or a bundle and an app, share a cache: the same transforms under another package name."""
    image = write(tmp_path / "a.nii.gz")
    folder = Path(cache_module.__file__).parents[1]
    spec = importlib.util.spec_from_file_location(
        "other_name", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    sys.modules["other_name"] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(sys.modules["other_name"])
        other = importlib.import_module("other_name.grid.transforms").LowPassd("image", spacing=[1, 2, 6])
        assert type(other) is not LowPassd
        mine = LowPassd("image", spacing=[1, 2, 6])
        assert cache_key(image, other, ["image"], "code") == cache_key(image, mine, ["image"], "code")
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "other_name"]:
            del sys.modules[name]


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    image = write(tmp_path / "a.nii.gz")
    saves = []

    def fail_at_the_second(path, array):
        saves.append(path)
        if len(saves) == 2:
            raise OSError("no space left on device")
        Path(path).write_bytes(b"half")

    with monkeypatch.context() as patch:
        patch.setattr(cache_module.np, "save", fail_at_the_second)
        with pytest.raises(OSError, match="no space left"):
            cached(tmp_path / "cache")({"image": image})
    assert entries(tmp_path / "cache") == []
    assert cached(tmp_path / "cache")({"image": image})["image"].shape == (1, 6, 5, 4)


@pytest.mark.parametrize("name", ["image.npy", "image.json", "coarse_image.npy", "coarse_image.json"])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.99, None])
def test_a_file_that_was_cut_short_or_lost_is_made_again(tmp_path, caplog, name, kept):
    image = write(tmp_path / "a.nii.gz")
    made = cached(tmp_path / "cache")({"image": image})["image"].clone()
    (entry,) = (tmp_path / "cache").iterdir()
    whole = {path.name: path.read_bytes() for path in entry.iterdir()}
    if kept is None:
        (entry / name).unlink()
    else:
        (entry / name).write_bytes(whole[name][: int(kept * len(whole[name]))])
    read = cached(tmp_path / "cache")({"image": image})["image"]
    assert torch.equal(read, made) and torch.equal(read.affine, made.affine)
    assert f"{entry} is damaged and is made again" in caplog.text
    assert {path.name: path.read_bytes() for path in entry.iterdir()} == whole
    assert entries(tmp_path / "cache") == [entry.name]


class Light:
    """A transform without threads: those of MONAI's readers and of torch are not there in a forked process."""

    def __call__(self, data):
        meta = {"original_affine": np.eye(4), "spatial_shape": np.array([2, 2, 2]), "filename_or_obj": data["image"]}
        return {"image": MetaTensor(torch.ones(1, 2, 2, 2), affine=torch.eye(4), meta=meta)}


def _killed_while_writing(folder, image):
    cache_module.np.save = lambda *_: os._exit(9)
    CachedTransformd("image", Light(), str(folder))({"image": image})


@pytest.mark.parametrize("rank", [0, 1])
def test_what_killed_processes_left_long_ago_is_removed_by_one_process(tmp_path, monkeypatch, rank):
    image = write(tmp_path / "a.nii.gz")
    images = CachedTransformd("image", Light(), str(tmp_path / "cache"))
    images({"image": image})
    (finished,) = entries(tmp_path / "cache")
    day = 24 * 3600
    for name, age in ((".old", day + 60), (".new", day - 60)):
        (tmp_path / "cache" / name / "half").mkdir(parents=True)
        os.utime(tmp_path / "cache" / name, (time.time() - age,) * 2)
    os.utime(tmp_path / "cache" / finished, (1, 1))
    monkeypatch.setattr(cache_module.idist, "get_rank", lambda: rank)
    images.fill([{"image": image}], num_workers=0)
    assert entries(tmp_path / "cache") == sorted([".new", finished, *([".old"] if rank else [])])


def _make(folder, image, start, results):
    start.wait()
    results.put(float(CachedTransformd("image", Light(), str(folder))({"image": image})["image"].sum()))


def test_a_process_that_is_killed_while_it_writes_leaves_no_entry(tmp_path):
    image = write(tmp_path / "a.nii.gz")
    process = multiprocessing.get_context("fork").Process(
        target=_killed_while_writing, args=(tmp_path / "cache", image)
    )
    process.start()
    process.join(60)
    assert process.exitcode == 9
    assert len(entries(tmp_path / "cache")) == 1  # what it was about to write, under another name
    for _ in range(2):
        made = CachedTransformd("image", Light(), str(tmp_path / "cache"))({"image": image})
        assert made["image"].sum() == 8
    assert len([name for name in entries(tmp_path / "cache") if not name.startswith(".")]) == 1


def test_processes_at_once_make_one_entry(tmp_path):
    image = write(tmp_path / "a.nii.gz")
    context = multiprocessing.get_context("fork")
    start, results = context.Event(), context.Queue()
    processes = [context.Process(target=_make, args=(tmp_path / "cache", image, start, results)) for _ in range(3)]
    for process in processes:
        process.start()
    start.set()
    assert [results.get(timeout=60) for _ in processes] == [8.0] * 3
    for process in processes:
        process.join(60)
    assert len(entries(tmp_path / "cache")) == 1


def test_a_rename_that_fails_for_another_reason_is_told(tmp_path, monkeypatch):
    image = write(tmp_path / "a.nii.gz")

    def refuse(self, target):
        raise PermissionError("not here")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match=r"cache/\w+ cannot be written: .*not here"):
        cached(tmp_path / "cache")({"image": image})


def test_float16_takes_half_and_is_told_from_float32(tmp_path):
    """Entries of one dtype are not read as those of the other."""
    image, folder = write(tmp_path / "a.nii.gz"), tmp_path / "cache"
    exact = cached(folder)({"image": image})["image"]
    (before,) = entries(folder)
    half = CachedTransformd(["image", "coarse_image"], transform(), str(folder), "float16")
    found = half({"image": image})["image"]
    assert found.dtype == torch.float16 and exact.dtype == torch.float32
    assert half.is_cached({"image": image}) and before in entries(folder) and len(entries(folder)) == 2
    torch.testing.assert_close(found.as_tensor().float(), exact.as_tensor(), rtol=5e-4, atol=1e-7)
    torch.testing.assert_close(found.affine, exact.affine)
    with pytest.raises(ValueError, match="cache_dtype is 'int8'; allowed are float32, float16"):
        CachedTransformd(["image"], transform(), str(folder), "int8")


@pytest.mark.parametrize("value", [200.0, 1e6, np.inf, np.nan])
def test_an_image_that_float16_would_change_stays_float32(value):
    voxels = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    assert cache_module.stored(voxels, "float16").dtype == np.float16
    voxels[1, 2] = value + 0.06
    kept = cache_module.stored(voxels, "float16")
    assert kept.dtype == np.float32
    np.testing.assert_array_equal(kept, voxels)


def test_points_in_an_image_of_float16_are_those_of_the_plain_one():
    """A network that gives the image itself: its blobs lie where they lay, within a hundredth of a voxel."""
    generator = np.random.default_rng(1)
    grid = np.stack(np.meshgrid(*[np.arange(20.0)] * 3, indexing="ij"))
    points = generator.uniform(6, 13, (20, 3))
    blobs = [np.exp(-((grid - point[:, None, None, None]) ** 2).sum(0) / 8) for point in points]
    plain = (4 * np.stack(blobs) + generator.normal(0, 0.1, (20, 20, 20, 20))).astype(np.float32)
    half = cache_module.stored(plain, "float16")
    assert half.dtype == np.float16
    decoder = ArgmaxDecoder()
    first, second = (decoder(torch.from_numpy(maps.astype(np.float32)))[0] for maps in (plain, half))
    assert 0 < float((first - second).norm(dim=1).max()) < 0.01
