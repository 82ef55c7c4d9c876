"""Images with one Gaussian blob at each landmark, plans and pipelines for them, and a network that knows the answer."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from hypothesis import strategies as st
from monai.bundle import ConfigParser

from auto_config.bundle import configs
from auto_config.bundle_scripts.grid.grids import world_to_voxel
from auto_config.bundle_scripts.methods.interfaces import LOGITS
from auto_config.bundle_scripts.points.shape import ShapeModel
from auto_config.bundle_scripts.training.patches import rotation_matrix
from auto_config.fingerprint.summary import Fingerprint
from auto_config.methods.plan import Decision, Plan
from auto_config.planning.options import PlanOptions
from auto_config.planning.planner import make_plan

CUT = 5.0  # standard deviations after which a blob is exactly background
HEIGHT = 1.0


def plan_of(
    *, dims=3, channels=1, landmarks=1, method="default", stages=1, spacing=None, patch_size=None, **numbers
) -> Plan:
    """The planner's decisions for images of 48 voxels of 1 mm; CT unless told, so that intensities are kept."""
    spacing = tuple(spacing or (1.0,) * dims)
    names = 2 * (landmarks // 2)
    kind, network = numbers.pop("kind", "ct"), numbers.pop("network", "tiny")
    fingerprint = Fingerprint(
        cases=20,
        spatial_dims=dims,
        channels=channels,
        landmarks=landmarks,
        shapes=[[48] * dims] * 20,
        spacings=[list(spacing)] * 20,
        extents_mm=[[48.0 * s for s in spacing]] * 20,
        intensity=[
            {
                "min": 0.0,
                "max": 1.0,
                "mean": 0.0,
                "std": 1.0,
                "p00_5": 0.0,
                "p99_5": 1.0,
                "air": 0.0,
                "air_zscore": -0.5,
            }
        ]
        * channels,
        is_integer=False,
        modality_guess=None,
        landmark_extent_mm=[[24.0] * dims] * 20,
        present=[20] * landmarks,
        absent=[0] * landmarks,
        unknown=[0] * landmarks,
        nearest_landmarks_mm={"min": 5.0, "median": 10.0},
        pairs=[[i, i + 1] for i in range(0, names, 2)],
        midline=list(range(names, landmarks)),
        left_right_axis_evidence={"source": "names", "residual_mm": None, "spread_mm": None, "reason": "names"},
    )
    options = PlanOptions(
        network=network,
        method=method,
        stages=stages,
        patch_size=patch_size,
        modality=kind,
        spacing=spacing,
        **{part: numbers.get(part) for part in ("target", "loss", "decoder")},
        cut_share=numbers.pop("cut_share", 0.0),  # half a blob has its centre elsewhere
    )
    split = {"test": Decision([], "none"), "folds": Decision(5, "five")}
    return make_plan(fingerprint, options, split)


def parse(config: dict, folder: Path, names, *, pairs=(), **changes) -> ConfigParser:
    """A parser for a config of a bundle, with this package in the place of its scripts."""
    partner = {i: j for pair in pairs for i, j in (pair, pair[::-1])}
    items = [{"name": n, "pair": names[partner[i]] if i in partner else None} for i, n in enumerate(names)]
    landmarks = folder / "landmarks.json"
    landmarks.write_text(json.dumps({"landmarks": items}), encoding="utf-8")
    config = json.loads(json.dumps(config).replace('"scripts.', '"auto_config.bundle_scripts.'))
    parser = ConfigParser({**config, "landmarks": str(landmarks), "cache_dir": None, **changes})
    parser.parse()
    return parser


def training_pipeline(plan: Plan, folder: Path, names, **changes):
    """``train#preprocessing`` of the plan's train.json: from a case with seed and index to patches."""
    parser = parse(
        configs.train_config(plan, len(names), str(folder), 0), folder, names, pairs=plan.value("pairs"), **changes
    )
    return parser.get_parsed_content("train#preprocessing")


def inference_parts(plan: Plan, folder: Path, names):
    """Preprocessing, inferer and post-processing of the plan's inference.json."""
    parser = parse(configs.inference_config(plan, len(names)), folder, names)
    return [parser.get_parsed_content(name) for name in ("preprocessing", "inferer", "postprocessing")]


def blob_image(path: Path, points, affine, shape, sigma, *, background=0.0, channel=None) -> str:
    """Write a NIfTI with a Gaussian of ``sigma`` mm at each world point (or at the one of ``channel``)."""
    dims = len(shape)
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    world = grid @ affine[:dims, :dims].T + affine[:dims, -1]
    image = np.zeros(shape)
    for point in np.asarray(points) if channel is None else np.asarray(points)[channel : channel + 1]:
        far = np.linalg.norm(world - point, axis=-1) / sigma
        image = np.maximum(image, np.where(far < CUT, HEIGHT * np.exp(-0.5 * far**2), 0.0))
    nib.save(nib.Nifti1Image((image + background).astype(np.float32), affine), path)
    return str(path)


def inline(names, points) -> dict:
    """A label as the data list holds it."""
    return {name: [float(x) for x in point] for name, point in zip(names, points, strict=True)}


@st.composite
def geometries(draw, largest=1.6):
    """A 3D image grid: any of the 48 orders and signs of axes, turned, anisotropic, anywhere in the world.

    Gives ``(affine, shape)`` of about 60 mm around a centre.
    """
    spacing = np.array([draw(st.floats(0.7, largest)) for _ in range(3)])
    order = draw(st.permutations(range(3)))
    signs = np.array([draw(st.sampled_from([-1.0, 1.0])) for _ in range(3)])
    turn = rotation_matrix([draw(st.floats(-0.5, 0.5)) for _ in range(3)])
    direction = turn @ (np.eye(3)[:, order] * signs)
    shape = np.array([round(60 / s) + draw(st.integers(0, 6)) for s in spacing])
    affine = np.eye(4)
    affine[:3, :3] = direction * spacing
    center = np.array([draw(st.floats(-80, 80)) for _ in range(3)])
    affine[:3, 3] = center - affine[:3, :3] @ ((shape - 1) / 2)
    return affine, tuple(int(n) for n in shape)


def middle(affine, shape) -> np.ndarray:
    """World point in the middle of an image."""
    dims = len(shape)
    return affine[:dims, :dims] @ ((np.asarray(shape) - 1) / 2) + affine[:dims, -1]


def centre_of_mass(image: torch.Tensor, affine, point, sigma) -> np.ndarray | None:
    """Distance in voxels, along each axis, of the centre of mass of the blob at ``point`` (world mm) from that point.

    None where the blob is not wholly on the grid.

    Args:
        image: ``(*size)``.
        affine: of its voxels.
        point: ``(D,)`` world mm.
        sigma: of the blob, mm of this grid.
    """
    image = np.asarray(image, dtype=np.float64)
    dims = image.ndim
    affine = np.asarray(affine, dtype=np.float64)
    affine = (
        affine
        if affine.shape[0] == dims + 1
        else np.block([[affine[:dims, :dims], affine[:dims, -1:]], [np.zeros((1, dims)), np.ones((1, 1))]])
    )
    expected = world_to_voxel(affine, np.asarray(point))
    reach = 3.2 * sigma / np.linalg.norm(affine[:dims, :dims], axis=0)
    low, high = np.ceil(expected - reach).astype(int), np.floor(expected + reach).astype(int)
    if (low < 0).any() or (high >= image.shape).any():
        return None
    box = image[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))]
    floor = box.min()
    weight = np.clip(box - floor - 0.05 * (box.max() - floor), 0, None)
    where = np.stack(np.meshgrid(*[np.arange(a, b + 1) for a, b in zip(low, high, strict=True)], indexing="ij"), -1)
    return (where * weight[..., None]).reshape(-1, dims).sum(0) / weight.sum() - expected


class KnowingNetwork:
    """Reads the distance from a landmark off its blob and answers with the heatmap that its loss asks for.

    Channel ``k`` of the image holds the blob of landmark ``k`` alone. It is called as a `LandmarkNetwork`.
    """

    flipped = False

    def __init__(self, plan: Plan, sigma_mm: float, landmarks: int) -> None:
        self.shape = ShapeModel(landmarks, plan.value("spatial_dims"))
        self.sharp = "cross_entropy" in plan.value("loss")
        self.unit = {s["name"]: sigma_mm / min(s["spacing"]) for s in plan.value("stages")}
        self.radius = {s["name"]: plan.value("heatmap_radius_mm") / min(s["spacing"]) for s in plan.value("stages")}

    def views(self):
        return [self]

    def __call__(self, image):
        if isinstance(image, dict):
            return {name: {LOGITS: self._stage(x, name)} for name, x in image.items()}
        return self._stage(image, "fine")

    def _stage(self, image, name):
        distance = (-2 * (image / HEIGHT).clamp(1e-4, 1).log()).sqrt() * self.unit[name]
        if self.sharp:
            return -0.5 * distance**2
        return torch.logit((1 - distance / (self.radius[name] ** 2 + 1) ** 0.5).clamp(1e-6, 1 - 1e-6))
