"""A network that knows its anatomy upright only, as one that never saw it turned: for tests of poses.

The channels of an image are the coordinates of the anatomy, in mm about its middle, so that a crop tells where it lies,
how it is turned, and whether it is a mirror image.
"""

import numpy as np
import torch

from auto_config.bundle_scripts.points.pose.rotations import angle_deg, proper, random_rotation
from auto_config.bundle_scripts.points.shape import ShapeModel

AIR = -1000.0
RIGHT = {
    2: np.array([[4.0, -9], [9, -4], [6, 3], [10, 8], [3, 7]]),
    3: np.array([[4.0, -9, 2], [9, -4, -5], [6, 3, 7], [10, 8, -3], [3, 7, -8], [7, -7, 6]]),
}
MIDDLE = {2: np.array([[0.0, -11], [0, 1], [0, 10]]), 3: np.array([[0.0, -11, 3], [0, 1, -9], [0, 10, 5]])}


def anatomy(dims):
    """Points ``(L, D)`` mm, the same as their mirror image along the first axis, and the partner of each."""
    right, middle = RIGHT[dims], MIDDLE[dims]
    count = len(right)
    points = np.concatenate([right, right * ([-1.0] + [1.0] * (dims - 1)), middle])
    return points, [*range(count, 2 * count), *range(count), *range(2 * count, 2 * count + len(middle))]


def shape_model(dims, turn=None, cases=8, spread=0.1):
    """The shape of cases that all lie turned by the same rotation."""
    points, _ = anatomy(dims)
    random = np.random.default_rng(4)
    shapes = np.stack([points + random.normal(size=points.shape) * spread for _ in range(cases)])
    model = ShapeModel(len(points), dims)
    model.fit(shapes if turn is None else shapes @ turn.T)
    return model


def turned_image(turn, spacing, size):
    """The image ``(D, *size)`` of the anatomy turned about its middle, and its points ``(L, D)`` in voxels."""
    dims = len(size)
    spacing, middle = np.asarray(spacing, dtype=float), (np.asarray(size) - 1) / 2
    voxels = np.stack(np.meshgrid(*[np.arange(float(n)) for n in size], indexing="ij"), -1)
    coordinates = ((voxels - middle) * spacing) @ turn
    image = torch.from_numpy(np.moveaxis(coordinates, -1, 0)).float()
    return image, (anatomy(dims)[0] @ turn.T) / spacing + middle


def any_turn(seed, dims):
    """A rotation of all there are."""
    return random_rotation(np.random.default_rng(seed), dims)


class UprightNetwork:
    """Finds every landmark within 35 degrees, six of ten within 65, and none beyond; elsewhere it mixes them up.

    Args:
        dims: D.
        steps: mm of a voxel of the grid of each stage, by its name.
        knows: degrees up to which each stage finds all, by its name, where that is not 35.
        shape: of the training cases.
    """

    flipped = False

    def __init__(self, dims, steps, *, knows=None, shape=None):
        self.dims, self.steps, self.knows = dims, steps, knows or {}
        self.points, self.shape = anatomy(dims)[0], shape or shape_model(dims)
        self.looks = dict.fromkeys(steps, 0)
        self.seen = []

    def views(self):
        return [self]

    def __call__(self, images):
        return {name: {"logits": torch.stack([self._logits(x, name) for x in image])} for name, image in images.items()}

    def _logits(self, image, name):
        self.looks[name] += 1
        inside = (image > AIR / 2).all(0)
        if inside.sum() < 4**self.dims:
            return torch.full((len(self.points), *image.shape[1:]), -30.0)
        jacobian = np.zeros((self.dims, self.dims))
        for axis in range(self.dims):
            step = image.diff(dim=1 + axis)
            both = inside.narrow(axis, 1, step.shape[1 + axis]) & inside.narrow(axis, 0, step.shape[1 + axis])
            jacobian[:, axis] = [float(channel[both].median()) / self.steps[name][axis] for channel in step]
        if np.linalg.det(jacobian) < 0:
            # The mirror image: it looks like the anatomy with left and right exchanged.
            image = image * torch.tensor([-1.0] + [1.0] * (self.dims - 1)).reshape(-1, *[1] * self.dims)
            jacobian[0] *= -1
        angle = angle_deg(proper(jacobian))
        self.seen.append((name, angle))
        at = self.points.copy()
        limit = self.knows.get(name, 35.0)
        wrong = np.arange(len(at)) % 5 >= (5 if angle <= limit else 3 if angle <= limit + 30 else 0)
        at[wrong] = np.roll(self.points, 4, axis=0)[wrong]
        step = float(np.mean(self.steps[name]))
        centre = torch.from_numpy(at).float().reshape(len(at), self.dims, *[1] * self.dims)
        apart = (image[None] - centre).square().sum(1) / (1.5 * step) ** 2
        return torch.where(inside, 6.0 - 0.5 * apart, torch.tensor(-30.0))
