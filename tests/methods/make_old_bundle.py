"""Writes `old_bundle.zip`: a small trained bundle of two stages with its data, by the code before methods had a seam.

It was run once, with the last commit before the seam: `python tests/methods/make_old_bundle.py`. Blobs of `steps.py`,
networks of four to eight features, two training steps; `points.json` holds what that code predicted.
"""

import json
import tempfile
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from steps import narrow_bundle, points_of, two_steps, write_cases

if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cases(folder / "data", 3, cases=4)
        for path in (folder / "data/images").iterdir():
            image = nib.load(path)
            nib.save(nib.Nifti1Image(np.round(image.get_fdata() / 4).clip(0).astype(np.uint8), image.affine), path)
        root = narrow_bundle(folder / "data", folder / "bundle", stages=2, dims=3, recipe="default")
        two_steps(root)
        points = points_of(root, folder / "data/images/c0.nii.gz")
        (folder / "points.json").write_text(json.dumps(points), encoding="utf-8")
        with zipfile.ZipFile(
            Path(__file__).with_name("old_bundle.zip"), "w", zipfile.ZIP_DEFLATED, compresslevel=9
        ) as out:
            for path in sorted(folder.rglob("*")):
                relative = path.relative_to(folder)
                if path.is_file() and not {"__pycache__", "cache", "methods"} & set(relative.parts):
                    out.write(path, relative)
