"""`export`: the networks of a trained bundle as ONNX and TorchScript files."""

import sys
from pathlib import Path

from auto_config.arguments import Place
from auto_config.choices import ExportFormat
from auto_config.errors import UserError


def export(
    bundle: Place,
    output: Place,
    *,
    format: ExportFormat = "onnx",
    image: Place | None = None,
    overwrite: bool = False,
) -> int:
    """Write the networks of a trained bundle for programs without PyTorch, and check each.

    One file for each stage, coarse.onnx and fine.onnx, and for each fold of an ensemble; the number of patches is free.
    pipeline.json says in plain numbers how an image becomes points, where a short program can do that: see
    docs/examples/onnx_predict.py. Each file is compared with its network on the same patches, and all together on an
    image.

    Args:
        bundle: a trained bundle
        output: folder for the files
        format: onnx, torchscript or all
        image: image whose points are compared; the first one of the bundle's data list if not given
        overwrite: replace exports of this format that are in OUTPUT

    Returns:
        0.

    Raises:
        UserError: not a trained bundle, a package is missing, an export differs from its network, or none is written.

    Examples:
        auto_config export brain_landmarks exported
        auto_config export brain_landmarks exported --format all --image scan.nii.gz
    """
    from auto_config.exporting.folder import check_folder

    folder = Path(output)
    formats = {"onnx": ["onnx"], "torchscript": ["torchscript"], "all": ["onnx", "torchscript"]}[format]
    check_folder(folder, formats, overwrite)
    if image is not None and not Path(image).exists():
        raise UserError(f"--image {image}: is not there; give an image that the bundle can predict")

    from auto_config.exporting.packages import require

    if "onnx" in formats:
        require("onnx", "onnxscript", "onnxruntime")

    from auto_config.bundle.opened import open_bundle
    from auto_config.exporting.checks import image_of
    from auto_config.exporting.stages import in_float32
    from auto_config.exporting.writing import write_exports
    from auto_config.prediction.input import find_images, wanted_images

    opened = in_float32(open_bundle(bundle, device="cpu"))
    if image is None:
        files = image_of(opened.root)
    else:
        (files,) = list(find_images(Path(image), **wanted_images(opened.root)).values())[:1]
    done = write_exports(opened, folder, formats, files)
    if not done.share:
        raise UserError(f"{'; '.join(done.notes)}; nothing was written, give --format onnx")
    for path in done.files:
        print(path)
    for note in done.notes:
        print(note, file=sys.stderr)
    for kind, share in done.share.items():
        points = f", points by up to {done.mm[kind]:.2g} mm in {files[0]}" if files and kind in done.mm else ""
        print(f"{kind}: outputs differ by up to {share:.1e} of the largest value{points}")
    if files is None:
        print("points were not compared: no image of the data list is there; --image FILE names one", file=sys.stderr)
    return 0
