"""Points by registration of labelled templates, without any training: what `few_labels.py` compares with.

Needs SimpleITK (`pip install SimpleITK`), which the package itself does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from auto_config.datasets.images import read_image

LONGEST = 96
"""Voxels along the longest edge of the images that are registered."""

CONTROL_POINTS = 6
"""Meshes of the B-spline along each axis."""


def installed() -> bool:
    """Whether SimpleITK is there."""
    try:
        import SimpleITK  # noqa: F401
    except ImportError:
        return False
    return True


def registered_points(
    templates: Sequence[tuple[Sequence[Path], np.ndarray]],
    image: Sequence[Path],
    pixel_spacing: tuple[float, float] | None,
) -> np.ndarray:
    """The points of templates, carried over to an image.

    Each template is registered to the image: first rigidly, from the centres of mass, then affinely, then by cubic
    B-splines, each by mutual information. The points of all templates are averaged.

    Args:
        templates: files of each, and its points (L, D) in world mm, NaN where not present.
        image: files of the image.
        pixel_spacing: mm of a pixel of pictures.

    Returns:
        (L, D) world mm, NaN where no template has the point.
    """
    moving = _grey(image, pixel_spacing)
    carried = [_carried(_grey(paths, pixel_spacing), moving, points) for paths, points in templates]
    stack = np.stack(carried)
    known = np.isfinite(stack)
    total = np.where(known, stack, 0.0).sum(0)
    return np.where(known.any(0), total / np.maximum(known.sum(0), 1), np.nan)


def _grey(paths: Sequence[Path], pixel_spacing: tuple[float, float] | None) -> Any:
    """The first channel of an image, smoothed and coarse, in its world (RAS mm; ITK does not mind)."""
    import SimpleITK as sitk  # noqa: N813

    image = read_image(list(paths), pixel_spacing)
    dims = image.array.ndim - 1
    grey = sitk.GetImageFromArray(np.ascontiguousarray(image.array[0].T))
    columns = np.asarray(image.affine)[:dims, :dims]
    spacing = np.linalg.norm(columns, axis=0)
    grey.SetSpacing(spacing.tolist())
    grey.SetDirection((columns / spacing).ravel().tolist())
    grey.SetOrigin(np.asarray(image.affine)[:dims, -1].tolist())
    shape = np.array(grey.GetSize())
    coarse = max(float((shape * spacing).max()) / LONGEST, float(spacing.min()))
    size = np.maximum(1, np.round(shape * spacing / coarse)).astype(int)
    smooth = sitk.SmoothingRecursiveGaussian(grey, (np.maximum(spacing, coarse) / 2).tolist())
    step = shape * spacing / size
    origin = np.asarray(grey.GetOrigin()) + columns / spacing @ ((step - spacing) / 2)
    return sitk.Resample(
        smooth,
        size.tolist(),
        sitk.Transform(dims, sitk.sitkIdentity),
        sitk.sitkLinear,
        origin.tolist(),
        step.tolist(),
        grey.GetDirection(),
        0.0,
        sitk.sitkFloat32,
    )


def _carried(template: Any, image: Any, points: np.ndarray) -> np.ndarray:
    """Points (L, D) of a template where the registration to an image puts them."""
    import SimpleITK as sitk  # noqa: N813

    dims = points.shape[1]
    rigid = sitk.Euler3DTransform() if dims == 3 else sitk.Euler2DTransform()
    found = sitk.CenteredTransformInitializer(template, image, rigid, sitk.CenteredTransformInitializerFilter.MOMENTS)
    found = _optimised(template, image, found, by_gradient=True)
    affine = sitk.AffineTransform(dims)
    composite = sitk.CompositeTransform([found, _optimised(template, image, affine, before=found, by_gradient=True)])
    mesh = [CONTROL_POINTS] * dims
    spline = sitk.BSplineTransformInitializer(template, mesh, 3)
    bent = _optimised(template, image, spline, before=composite, by_gradient=False)
    whole = sitk.CompositeTransform([composite, bent])
    known = np.isfinite(points).all(1)
    out = np.full(points.shape, np.nan)
    out[known] = [whole.TransformPoint(point.tolist()) for point in points[known]]
    return out


def _optimised(template: Any, image: Any, transform: Any, *, before: Any = None, by_gradient: bool) -> Any:
    """A transform that makes the image look like the template; `before` comes after it and stays."""
    import SimpleITK as sitk  # noqa: N813

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.2)
    method.SetInterpolator(sitk.sitkLinear)
    if by_gradient:
        method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 100)
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetShrinkFactorsPerLevel([4, 2, 1])
        method.SetSmoothingSigmasPerLevel([2, 1, 0])
    else:
        method.SetOptimizerAsLBFGSB(numberOfIterations=30, maximumNumberOfFunctionEvaluations=40)
        method.SetShrinkFactorsPerLevel([2, 1])
        method.SetSmoothingSigmasPerLevel([1, 0])
    if before is not None:
        method.SetMovingInitialTransform(before)
    method.SetInitialTransform(transform, inPlace=False)
    return method.Execute(template, image)
