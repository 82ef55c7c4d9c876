"""Files that are sent under the name of another format."""

import itk
import numpy as np
import pytest
from landmark_app.lib.core.errors import ClientError
from landmark_app.lib.store.images import check_self_contained

from auto_config.datasets.images import read_header
from auto_config.errors import UserError


@pytest.mark.parametrize("ending", [".dcm", ".nrrd", ".mha", ".png"])
@pytest.mark.parametrize("before", [b"", b"ElementDataFile = LOCAL".ljust(512, b"\n"), b"\n" * 2048])
def test_hdf5_is_refused_under_any_name(tmp_path, ending, before):
    """ITK would read it by its content, and its voxels may be any file of the machine."""
    itk.imwrite(itk.image_from_array(np.zeros((6, 7, 8), np.float32)), str(tmp_path / "volume.h5"))
    path = tmp_path / f"volume{ending}"
    path.write_bytes(before + (tmp_path / "volume.h5").read_bytes())
    with pytest.raises(UserError, match="cannot be read"):  # nor is ITK ever asked to find its reader
        read_header(path)
    with pytest.raises(ClientError, match="is HDF5") as refused:
        check_self_contained(path)
    assert refused.value.status == 422
