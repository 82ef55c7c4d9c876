"""Bundles whose points are known, images in every position, and a running server."""

import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from auto_config import bundle_scripts

REPOSITORY = Path(__file__).parents[3]
NAMES = ("Nose tip", "nose Tip", "Größe, 1", "EAR left")
# Shares of the image's extent along R, A and S. The balls of the first two touch.
POINTS = ((0.31, 0.42, 0.57), (0.40, 0.44, 0.57), (0.71, 0.66, 0.36), (0.23, 0.74, 0.81))
BALL_RADIUS_MM = 4.0
START_SECONDS = 600

FIXED = """
import torch


class FixedPoints(torch.nn.Module):
    def __init__(self, landmarks, dims=3):
        super().__init__()
        self.points = torch.nn.Parameter(torch.zeros(landmarks, dims))

    flipped = False
    shape = None

    def views(self):
        return [self]

    def forward(self, images):
        return {name: {"logits": self.logits(image)} for name, image in images.items()}

    def logits(self, image):
        size = image.shape[2:]
        axes = [torch.arange(n, dtype=torch.float32, device=image.device) for n in size]
        voxels = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
        peaks = self.points * (torch.tensor(size, device=image.device) - 1)
        distances = (voxels[None] - peaks[(slice(None), *[None] * len(size))]).square().sum(-1)
        return (LOGIT - 0.5 * distances)[None]
"""


def write_fixed_bundle(
    root: Path,
    points=POINTS,
    names=NAMES,
    *,
    version: str = "0.1.0",
    ball_radius_mm: float = BALL_RADIUS_MM,
    logit: float = 2.0,
) -> Path:
    """Write a bundle that finds landmark ``k`` at the share ``points[k]`` of any image; points None: without weights.

    ``logit`` is in its own code, so that two bundles that mix their ``scripts`` tell wrong confidences.
    """
    shutil.copytree(
        Path(bundle_scripts.__file__).parent, root / "scripts", ignore=shutil.ignore_patterns("__pycache__")
    )
    (root / "scripts/fixed.py").write_text(FIXED.replace("LOGIT", str(logit)))
    (root / "configs").mkdir()
    (root / "models").mkdir()
    landmarks = [{"name": name, "slug": f"l{i}", "pair": None, "mean_offset_mm": None} for i, name in enumerate(names)]
    channels = {"0": "background", **{str(i): f"l{i - 1}" for i in range(1, len(names) + 1)}}
    metadata = {
        "name": root.name,
        "version": version,
        "description": f"Finds {len(names)} landmarks.",
        "network_data_format": {
            "inputs": {"image": {"spatial_shape": [32, 32, 32]}},
            "outputs": {"pred": {"channel_def": channels}},
        },
    }
    results = {"keys": "pred", "ref_image": "image"}
    inference = {
        "imports": ["$import torch", "$import sys"],
        "bundle_root": ".",
        "landmarks": "$@bundle_root + '/configs/landmarks.json'",
        "device": "$torch.device('cpu')",
        "network_def": {"_target_": "scripts.fixed.FixedPoints", "landmarks": len(names)},
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": "LoadImaged",
                    "keys": "image",
                    "reader": ["ITKReader", "NibabelReader"],
                    "ensure_channel_first": True,
                },
                {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
            ],
        },
        "inferer": {
            "_target_": "scripts.inference.dense.DenseInferer",
            "window": {"_target_": "SimpleInferer"},
            "decoder": "@decoder",
            "spacing": [1.0, 1.0, 1.0],
        },
        "decoder": {"_target_": "scripts.methods.decoders.ArgmaxDecoder"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "scripts.inference.results.PeaksToWorldd", **results},
                {"_target_": "scripts.inference.results.LandmarkResultd", **results, "landmarks": "@landmarks"},
                {"_target_": "scripts.inference.results.BallLabelMapd", **results, "radius_mm": ball_radius_mm},
            ],
        },
    }
    for name, content in {
        "landmarks": {"spatial_dims": 3, "landmarks": landmarks},
        "metadata": metadata,
        "inference": inference,
    }.items():
        (root / "configs" / f"{name}.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    if points is not None:
        save_points(root / "models/model.pt", points)
    return root


def save_points(path: Path, points) -> None:
    """Write the weights, atomically as a training does."""
    torch.save({"points": torch.tensor(points, dtype=torch.float32)}, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


ORIENTATIONS = {
    "ras": np.eye(3),
    "las": np.diag([-1.0, 1, 1]),
    "pir": np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]),
}


def oblique_affine(
    orientation: str = "pir", spacing=(1.1, 0.9, 2.7), degrees: float = 13.0, origin=(-31.0, 17.0, 44.0)
) -> np.ndarray:
    """(4, 4) voxel to RAS mm: voxel axes along ORIENTATION, turned about two axes."""
    angle = np.deg2rad(degrees)
    c, s = np.cos(angle), np.sin(angle)
    turned = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    affine = np.eye(4)
    affine[:3, :3] = turned @ ORIENTATIONS[orientation] @ np.diag(spacing)
    affine[:3, 3] = origin
    return affine


def write_volume(path: Path, affine: np.ndarray, shape=(34, 30, 26), seed: int = 0) -> Path:
    """Write noise on a grid, as NIfTI or, through ITK, as NRRD or MetaImage."""
    array = np.random.default_rng(seed).normal(100, 20, shape).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith((".nii", ".nii.gz")):
        nib.save(nib.Nifti1Image(array, affine), path)
        return path
    import itk

    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = itk.image_from_array(np.ascontiguousarray(array.T))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(lps[:3, :3] / spacing)))
    itk.imwrite(image, str(path))
    return path


def true_world(affine: np.ndarray, shape, points=POINTS) -> np.ndarray:
    """(L, 3) RAS mm of the landmarks of a fixed bundle in an image, by nibabel's reorientation."""
    canonical = nib.as_closest_canonical(nib.Nifti1Image(np.zeros(shape, dtype=np.uint8), affine))
    voxels = np.asarray(points) * (np.array(canonical.shape) - 1)
    return voxels @ canonical.affine[:3, :3].T + canonical.affine[:3, 3]


@dataclass
class RunningServer:
    """A server that `auto_config serve` started."""

    url: str
    process: subprocess.Popen
    studies: Path
    log: Path

    def get(self, path: str):
        """The JSON answer of a GET request."""
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.load(answer)

    def infer(self, model: str, image: str, params=None, output: str = "all"):
        """Status, content type and body of an inference, as the clients ask for it."""
        from requests_toolbelt import MultipartEncoder

        body = MultipartEncoder(fields={"params": json.dumps(params or {})})
        query = f"?image={urllib.parse.quote(image)}&output={output}"
        request = urllib.request.Request(
            f"{self.url}/infer/{model}{query}", data=body.to_string(), headers={"Content-Type": body.content_type}
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def landmarks(self, model: str, image: str, params=None) -> dict:
        """The landmarks of an inference, by name; it must succeed."""
        status, _, body = self.infer(model, image, params, output="json")
        assert status == 200, body
        return {item["name"]: item for item in json.loads(body)["landmarks"]}

    def stop(self) -> int:
        """End the server and everything that it started; its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait()


def start_server(
    bundles: Path, studies, log: Path, *options: str, environment=None, launcher=(), wait: bool = True
) -> RunningServer:
    """Start `auto_config serve` on a free port and wait until it answers.

    Args:
        bundles: folder of bundles.
        studies: folder or address.
        log: file for the output of the server.
        options: more words of the command line.
        environment: variables beside those of this process.
        launcher: words before the command, such as ``ip netns exec NAME``.
        wait: whether to wait for the server's answer.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = [*launcher, sys.executable, "-m", "auto_config", "serve", str(studies), "--bundles", str(bundles)]
    variables = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(REPOSITORY),
        "MONAI_LABEL_SESSION_PATH": str(log.with_suffix(".sessions")),
        **(environment or {}),
    }
    with log.open("w") as output:
        process = subprocess.Popen(
            [*line, "--port", str(port), *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            env=variables,
            start_new_session=True,
        )
    server = RunningServer(f"http://127.0.0.1:{port}", process, studies, log)
    if wait:
        wait_for(server)
    return server


def wait_for(server: RunningServer) -> None:
    """Wait until a server answers; stops it and fails if it ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        try:
            server.get("/info/")
        except OSError:
            time.sleep(0.3)
        else:
            return
    server.stop()
    raise AssertionError(f"the server did not start:\n{server.log.read_text()[-5000:]}")


def numbered(folder: Path, name: str) -> Path:
    """A path in FOLDER that is not there yet."""
    return next(path for i in itertools.count() if not (path := folder / f"{i}_{name}").exists())
