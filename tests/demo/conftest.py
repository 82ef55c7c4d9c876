"""A brain that needs no download, for all tests of the demo."""

import numpy as np
import pytest

from auto_config.demo.brains import Template


@pytest.fixture(scope="session")
def template() -> Template:
    """An ellipsoid of white in grey in fluid, as large as a brain, on a grid of 4 mm."""
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = [-92, -128, -72]
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in (47, 54, 44)), indexing="ij"), axis=-1)
    radius = np.linalg.norm((voxels * 4.0 + affine[:3, 3] - [0, -18, 0]) / [70, 88, 70], axis=-1)
    tissues = np.stack([(radius < 1) & (radius > 0.9), (radius <= 0.9) & (radius > 0.6), radius <= 0.6])
    return Template(
        np.tensordot([0.4, 0.6, 0.9], tissues, axes=1).astype(np.float32), tissues.astype(np.float32), affine
    )
