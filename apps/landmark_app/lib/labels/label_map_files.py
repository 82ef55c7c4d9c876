"""Write label maps so that the voxels keep their order and their place."""

from __future__ import annotations

from pathlib import Path

import itk
import nibabel as nib
import numpy as np

NIFTI_ENDINGS = (".nii.gz", ".nii")
LABEL_MAP_ENDINGS = (".nrrd", *NIFTI_ENDINGS, ".mha")


def write_label_map(path: Path, labels: np.ndarray, affine: np.ndarray, *, compress: bool = False) -> None:
    """Write a label map on the grid that `affine` describes.

    The first axis of the array varies fastest in the file. OHIF copies the voxels of an uncompressed NRRD one by one
    into its own volume, whatever the header says.

    Args:
        path: a name with one of `LABEL_MAP_ENDINGS`; ``.nii.gz`` is always compressed.
        labels: (I, J, K) uint8 or uint16.
        affine: (4, 4) voxel to RAS mm; it may be sheared.
        compress: of ``.nrrd`` and ``.mha``.
    """
    if path.name.endswith(NIFTI_ENDINGS):
        image = nib.Nifti1Image(labels, affine)
        image.header.set_xyzt_units("mm")
        nib.save(image, path)
        return
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    volume = itk.image_from_array(np.ascontiguousarray(labels.T))  # ITK's arrays are (K, J, I)
    volume.SetSpacing(spacing.tolist())
    volume.SetOrigin(lps[:3, 3].tolist())
    volume.SetDirection(itk.matrix_from_array(np.ascontiguousarray(lps[:3, :3] / spacing)))
    itk.imwrite(volume, str(path), compression=compress)
