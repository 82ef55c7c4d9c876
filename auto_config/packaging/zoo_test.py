"""A test in the style of the model zoo (``ci/unit_tests/test_NAME.py``), which makes its own small images."""

from __future__ import annotations

import re

_TEXT = '''"""{name}: its workflows start, have the properties that MONAI asks for, and predict on random images."""

import json
import os
import sys
import tempfile
import unittest
from pathlib import Path

import nibabel as nib
import numpy as np
from monai.bundle import ConfigWorkflow

ROOT = Path(os.environ.get("BUNDLE", {place!r})).resolve()
SHAPE = {shape}


class Test{camel}(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        images = np.random.default_rng(0).normal(size=(*SHAPE, {channels})).astype("float32")
        for channel in range({channels}):
            file = Path(self.folder.name) / f"image_{{channel:04d}}.nii.gz"
            nib.save(nib.Nifti1Image(images[..., channel], np.diag([*{spacing}, 1.0])), file)
        sys.path.insert(0, str(ROOT))

    def tearDown(self):
        sys.path.remove(str(ROOT))
        self.folder.cleanup()

    def test_inference(self):
        output = Path(self.folder.name) / "output"
        workflow = ConfigWorkflow(
            workflow_type="inference",
            config_file=str(ROOT / "configs" / "inference.json"),
            meta_file=str(ROOT / "configs" / "metadata.json"),
            logging_file=str(ROOT / "configs" / "logging.conf"),
            bundle_root=str(ROOT),
            dataset_dir=self.folder.name,
            output_dir=str(output),
        )
        workflow.initialize()
        self.assertEqual(workflow.check_properties(), [])
        workflow.run()
        workflow.finalize()
        names = [item["name"] for item in json.loads((ROOT / "configs" / "landmarks.json").read_text())["landmarks"]]
        lines = (output / "predictions.csv").read_text(encoding="utf-8").splitlines()
        self.assertGreaterEqual(len(lines) - 1, len(names))


if __name__ == "__main__":
    unittest.main()
'''


def zoo_test(name: str, shape: list[int], spacing: list[float], channels: int) -> str:
    """The file's text.

    Args:
        name: of the bundle.
        shape: of the random images, in voxels.
        spacing: of their voxels, mm.
        channels: files of an image.
    """
    camel = "".join(part.capitalize() for part in re.findall(r"[A-Za-z0-9]+", name))
    title = name.replace("\\", "/").replace('"', "'")
    return _TEXT.format(
        name=title, place=f"models/{name}", camel=camel, shape=tuple(shape), spacing=spacing, channels=channels
    )
