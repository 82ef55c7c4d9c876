"""Training patches: where they lie, how they are turned and scaled, and one resampling that makes them.

A patch is an affine map from patch voxels to image voxels. Rotation, scaling, mirroring and the choice of the place
are all in that one matrix, so an image is interpolated once and points follow in closed form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from ..grid.grids import apply_affine, embed_affine, world_to_voxel
from ..grid.turning import turning
from ..methods.heatmap import plain
from ..points.landmarks import ABSENT, PRESENT
from ..points.pose.rotations import random_rotation
from .deformation import Deformation, draw_deformation, in_patch
from .field_of_view import draw_cut

ANYWHERE, CENTER = "anywhere", "centre"


@dataclass(frozen=True)
class SpatialAugmentation:
    """How patches are turned and scaled.

    Args:
        rotation: largest angle in radians; each axis has its own angle, uniform in [-rotation, rotation].
        scale: (low, high) zoom of the patch's content, log-uniform, the same for all axes.
        rotation_probability: share of the patches that are rotated.
        scale_probability: share of the patches that are scaled.
        mirror_pairs: for each landmark the landmark that takes its place in the mirror (itself on the midline); None
        never
            mirrors. Mirroring is along the first axis of the planned grid, left to right.
        uniform_step: `scale` is the range of the step from voxel to voxel instead, uniform, as in nnU-Net.
        fixed_axis: in 3D, the axis about which alone patches are turned, and along which none is scaled: what nnU-Net
            does with flat patches.
        deformation: (share of the patches, amplitude, mm between control points) of smooth deformations, see
            `draw_deformation`.
    """

    rotation: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    rotation_probability: float = 1.0
    scale_probability: float = 1.0
    mirror_pairs: tuple[int, ...] | None = None
    uniform_step: bool = False
    fixed_axis: int | None = None
    deformation: tuple[float, float, float] = (0.0, 0.0, 1.0)

    def matrix(self, rng: np.random.Generator, spacing: np.ndarray) -> np.ndarray:
        """A random ``(D, D)`` matrix from offsets in patch voxels to offsets in image voxels.

        Args:
            rng: source of randomness.
            spacing: ``(D,)`` mm of the image's voxels: turns are turns in mm, also on anisotropic grids.
        """
        dims = len(spacing)
        matrix = np.eye(dims)
        # Every number is drawn whatever is used of it, so that one parameter does not shift the others.
        angles = rng.uniform(-self.rotation, self.rotation, size=3)
        if self.uniform_step:
            zoom = 1 / rng.uniform(*self.scale)
        else:
            zoom = float(np.exp(rng.uniform(np.log(self.scale[0]), np.log(self.scale[1]))))
        turn, stretch, mirror = rng.uniform(size=3)
        changed = np.arange(dims) != self.fixed_axis
        if turn < self.rotation_probability:
            free = angles if self.fixed_axis is None else angles * ~changed
            matrix = rotation_matrix(free[:1] if dims == 2 else free)
        if stretch < self.scale_probability:
            matrix = matrix / np.where(changed, zoom, 1.0)
        if self.mirror_pairs is not None and mirror < 0.5:
            matrix = matrix @ np.diag([-1.0] + [1.0] * (dims - 1))
        return np.diag(1.0 / spacing) @ matrix @ np.diag(spacing)

    def swap(self, matrix: np.ndarray, points: np.ndarray, status: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Exchange paired landmarks if the matrix mirrors.

        Args:
            matrix: ``(D, D)``.
            points: ``(L, D)``.
            status: ``(L,)``.
        """
        if self.mirror_pairs is None or np.linalg.det(matrix) > 0:
            return points, status
        order = list(self.mirror_pairs)
        return points[order], status[order]


def rotation_matrix(angles: Sequence[float] | np.ndarray) -> np.ndarray:
    """Rotation by one angle (2D) or about the x, y and z axes in turn (3D), radians."""
    if len(angles) == 1:
        c, s = np.cos(angles[0]), np.sin(angles[0])
        return np.array([[c, -s], [s, c]])
    out = np.eye(3)
    for axis, angle in enumerate(angles):
        c, s = np.cos(angle), np.sin(angle)
        i, j = [a for a in range(3) if a != axis]
        turn = np.eye(3)
        turn[i, i], turn[i, j], turn[j, i], turn[j, j] = c, -s, s, c
        out = turn @ out
    return out


def patch_affine(matrix: np.ndarray, center: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """The ``(D+1, D+1)`` map from patch voxels to image voxels that puts the patch's middle on ``center``."""
    dims = len(size)
    out = np.eye(dims + 1)
    out[:dims, :dims] = matrix
    out[:dims, -1] = center - matrix @ ((np.asarray(size) - 1) / 2)
    return out


def resample(
    image: torch.Tensor,
    affines: Sequence[np.ndarray],
    size: Sequence[int],
    pad_value: float,
    deformations: Sequence[Deformation | None] | None = None,
) -> torch.Tensor:
    """Linear interpolation of patches out of an image; outside of the image is ``pad_value``.

    Only the part of the image that a patch touches is read, so a memory-mapped image stays on disk.

    Args:
        image: ``(C, *image size)``.
        affines: for each patch the ``(D+1, D+1)`` map from patch voxels to image voxels.
        size: patch shape in voxels.
        pad_value: value of air.
        deformations: of each patch, in its voxels, before the affine; None for none.

    Returns:
        ``(N, C, *size)`` float32.
    """
    dims = len(size)
    shape = np.asarray(image.shape[1:])
    corners = np.stack(np.meshgrid(*[[0, n - 1] for n in size], indexing="ij"), -1).reshape(-1, dims)
    grid = torch.stack(torch.meshgrid(*[torch.arange(n, dtype=torch.float32) for n in size], indexing="ij"), -1)
    out = []
    for number, affine in enumerate(affines):
        bend = None if deformations is None else deformations[number]
        places = grid if bend is None else grid + torch.from_numpy(bend.on_grid(size))
        reach = apply_affine(affine, corners)
        if bend is not None:
            # No voxel moves farther than the control point that moves farthest.
            farthest = np.abs(affine[:dims, :dims]) @ np.abs(bend.control).reshape(dims, -1).max(1)
            reach = np.concatenate([reach - farthest, reach + farthest])
        low = np.clip(np.floor(reach.min(0)), 0, shape).astype(int)
        high = np.clip(np.ceil(reach.max(0)) + 1, 0, shape).astype(int)
        if (high <= low).any():
            out.append(torch.full((image.shape[0], *size), float(pad_value)))
            continue
        part = image[(slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True)))].float() - pad_value
        where = places @ torch.from_numpy(affine[:dims, :dims].T).float()
        where = where + torch.from_numpy(affine[:dims, -1] - low).float()
        # grid_sample counts from -1 to 1 between the outer borders of the voxels, last axis first. (Between their
        # centres, as with align_corners, a part of one voxel would fill everything before and behind it.)
        where = (2.0 * where + 1.0) / torch.from_numpy(high - low).float() - 1.0
        sampled = functional.grid_sample(part[None], where.flip(-1)[None], padding_mode="zeros", align_corners=False)
        out.append(sampled[0] + pad_value)
    return torch.stack(out)


@dataclass(frozen=True)
class Placement:
    """Where patches lie.

    Args:
        foreground: share of the patches that hold a random present landmark.
        where: ``anywhere`` puts that landmark at a random place in the patch; ``centre`` places all patches as stock
            nnU-Net does: on whole voxels, such a landmark within a voxel of the middle unless the patch would begin
            before the image, and in the middle of the image along an axis that is shorter than the patch.
        margin: share of the patch's edge that such a landmark keeps away from, on each side.
        every: None chooses by chance; a batch size makes the last samples of each batch the ones with a landmark, as
            stock nnU-Net does.
    """

    foreground: float = 0.67
    where: str = ANYWHERE
    margin: float = 0.1
    every: int | None = None

    def __post_init__(self) -> None:
        if self.where not in (ANYWHERE, CENTER):
            raise ValueError(f"placement is {self.where!r}; allowed are {ANYWHERE!r} and {CENTER!r}")

    def center(
        self,
        rng: np.random.Generator,
        index: int,
        *,
        points: np.ndarray,
        matrix: np.ndarray,
        size: np.ndarray,
        shape: np.ndarray,
    ) -> np.ndarray:
        """Centre of a patch in image voxels.

        Args:
            rng: source of randomness.
            index: global index of the sample.
            points: ``(N, D)`` voxels, the present landmarks.
            matrix: ``(D, D)`` offsets in patch voxels to offsets in image voxels.
            size: ``(D,)`` patch shape.
            shape: ``(D,)`` image shape.
        """
        chance, pick = rng.uniform(), rng.uniform()
        spot = rng.uniform(self.margin, 1 - self.margin, size=len(size))
        anywhere = rng.uniform(size=len(size))
        if self.every is None:
            wanted = chance < self.foreground
        else:
            wanted = index % self.every >= round(self.every * (1 - self.foreground))
        if self.where == CENTER:
            low = -(np.maximum(size - shape, 0) // 2)
            corner = low + np.floor(anywhere * (np.maximum(shape - size, 0) + 1))
            if wanted and len(points):
                near = np.round(points[int(pick * len(points))]) + rng.integers(-1, 2, size=len(size))
                corner = np.maximum(low, near - size // 2)
            return corner + (size - 1) / 2
        reach = size * np.abs(np.linalg.det(matrix)) ** (1 / len(size))
        # Where the image is smaller than the patch, the whole image stays inside; where it is larger, the patch does.
        low, high = np.minimum(reach, shape) / 2, shape - np.minimum(reach, shape) / 2
        slack = np.maximum(reach - shape, 0) / 2
        free = (low - slack) + anywhere * (high - low + 2 * slack) - 0.5
        if not wanted or len(points) == 0:
            return free
        point = points[int(pick * len(points))]
        held = point - matrix @ ((spot - 0.5) * (size - 1))
        # The same limits: a patch around a landmark at the border does not look at air only.
        return np.clip(held, low - slack - 0.5, high + slack - 0.5)


@dataclass
class RandPatchd:
    """One patch of an image, augmented: the only or the coarse stage.

    Adds ``data[name] = {"image" (1, C, *size), "points" (1, L, D) voxels of the patch, "status" (1, L)}``. Random
    numbers come from ``data["seed"]`` and ``data["index"]`` alone, so a sample is a pure function of them.

    Args:
        key: key of the image, a MetaTensor ``(C, *image size)`` on its grid.
        name: name of the stage.
        size: patch shape in voxels.
        augmentation: how it is turned and scaled.
        foreground: see `Placement`, as the next two.
        where: ``anywhere`` or ``centre``.
        every: None, or the batch size.
        pad_value: value of air.
        cut_share: share of the samples whose field of view is cut, see `scripts.training.field_of_view`.
        any_pose: turn each patch by a rotation of all there are before it is augmented.
    """

    key: str
    name: str
    size: Sequence[int]
    augmentation: SpatialAugmentation = field(default_factory=SpatialAugmentation)
    foreground: float = 0.67
    where: str = ANYWHERE
    every: int | None = None
    pad_value: float = 0.0
    cut_share: float = 0.0
    any_pose: bool = False

    def __post_init__(self) -> None:
        self.placement = Placement(self.foreground, self.where, every=self.every)

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Make the patch."""
        rng = np.random.default_rng([data["seed"], data["index"], 1])
        frame = Frame(data, self.key, self.cut_share)
        matrix = self.augmentation.matrix(rng, frame.spacing)
        if self.any_pose:
            drawn = random_rotation(np.random.default_rng([data["seed"], data["index"], 5]), len(self.size))
            matrix = turning(drawn, frame.spacing) @ matrix
        points, status = self.augmentation.swap(matrix, frame.points, frame.status)
        size = np.asarray(self.size)
        # Where the image was cut, patches also hold the place at its border that is nearest to a landmark outside.
        border = np.clip(frame.points[frame.cut_off], 0, frame.shape - 1)
        looked_at = np.concatenate([points[status == PRESENT], border])
        center = self.placement.center(
            rng, data["index"], points=looked_at, matrix=matrix, size=size, shape=frame.shape
        )
        bends = np.random.default_rng([data["seed"], data["index"], 7])
        bend = draw_deformation(self.augmentation.deformation, bends, self.size, frame.spacing)
        patch = frame.cut([matrix], [center], [(points, status)], self.size, self.pad_value, [bend])
        return {**data, self.name: patch}


class Frame:
    """An image, or the part of it that a cut of the field of view keeps: its voxels, and the landmarks in them.

    Whether and where it is cut follows from the sample alone, and the other numbers of a sample do not depend on it.
    """

    def __init__(self, data: Mapping[str, Any], key: str, cut_share: float = 0.0) -> None:
        whole = data[key]
        self.shape = np.asarray(whole.shape[1:])
        self.affine = embed_affine(whole.affine, len(self.shape))
        self.spacing = np.linalg.norm(self.affine[:-1, :-1], axis=0)
        self.points, self.status = world_to_voxel(self.affine, data["label"]), np.asarray(data["status"])
        self.image = plain(whole)
        self.cut_off = np.zeros(len(self.points), dtype=bool)
        self.random = np.random.default_rng([data["seed"], data["index"], 3])
        self.is_cut = bool(self.random.uniform() < cut_share)
        if self.is_cut:
            present = self.status == PRESENT
            cut = draw_cut(self.random, self.shape, self.points[present])
            self.cut_off = present & cut.outside(self.points)
            self.status = np.where(self.cut_off, np.int8(ABSENT), self.status)
            self.image, self.shape = self.image[(slice(None), *cut.slices)], cut.high - cut.low
            self.points, self.affine = self.points - cut.low, self.affine @ cut.shift

    def cut(  # noqa: PLR0917
        self,
        matrices: Sequence[np.ndarray],
        centers: Sequence[np.ndarray],
        labels: Sequence[tuple[np.ndarray, np.ndarray]],
        size: Sequence[int],
        pad_value: float,
        deformations: Sequence[Deformation | None],
    ) -> dict[str, torch.Tensor]:
        """Patches of the image, with the landmarks in their voxels; see `RandPatchd`."""
        affines = [patch_affine(m, c, size) for m, c in zip(matrices, centers, strict=True)]
        local = [in_patch(a, points, bend) for a, (points, _), bend in zip(affines, labels, deformations, strict=True)]
        return {
            "image": resample(self.image, affines, size, pad_value, deformations),
            "points": torch.from_numpy(np.stack(local)).float(),
            "status": torch.from_numpy(np.stack([s for _, s in labels]).astype(np.int64)),
            "affine": torch.from_numpy(np.stack([self.affine @ a for a in affines])),
        }
