"""Small directories in the layouts in which the public benchmarks are downloaded, with points that tests know."""

import json
from pathlib import Path

import itk
import nibabel as nib
import numpy as np
from PIL import Image as PillowImage

SHAPE = (20, 24, 16)
FCSV_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"


def odd_affine():
    """Rotated, anisotropic, and with an origin far from the middle."""
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([1.25, 0.9, 1.1])
    affine[:3, 3] = (83.5, -141.25, 612.0)
    return affine


def to_world(affine, voxels):
    voxels = np.asarray(voxels, dtype=np.float64)
    return voxels @ affine[:3, :3].T + affine[:3, 3]


def nifti(path, affine=None, shape=SHAPE, array=None, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    if array is None:
        array = np.random.default_rng(seed).integers(-1000, 1000, shape).astype(np.int16)
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return array


def nrrd(path, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), direction=None, *, shape=SHAPE, seed=0):
    """An image in LPS; returns its voxels in the order i, j, k."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).integers(-1000, 1000, shape).astype(np.int16)
    image = itk.image_from_array(np.ascontiguousarray(array.T))
    image.SetSpacing(list(spacing))
    image.SetOrigin(list(origin))
    image.SetDirection(np.eye(3) if direction is None else np.asarray(direction, dtype=float))
    itk.imwrite(image, str(path))
    return array


def fcsv(path, rows, system="0", version="4.6"):
    """`rows`: (x, y, z, label, desc) in the coordinate system of the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"# Markups fiducial file version = {version}", f"# CoordinateSystem = {system}"]
    lines.append(f"# columns = {FCSV_COLUMNS}")
    lines += [
        f"vtkMRMLMarkupsFiducialNode_{number},{x!r},{y!r},{z!r},0,0,0,1,1,1,0,{label},{desc},"
        for number, (x, y, z, label, desc) in enumerate(rows, start=1)
    ]
    path.write_text("\n".join(lines) + "\n")


# AFIDs


def afids_points(seed=0):
    """32 points in RAS mm inside the image of `odd_affine`."""
    voxels = np.random.default_rng(seed).uniform(2, np.array(SHAPE) - 3, (32, 3))
    return to_world(odd_affine(), voxels)


def afids_file(path, points, system="0", order=None):
    order = range(32) if order is None else order
    fcsv(path, [(*map(float, points[row]), row + 1, f"desc {row + 1}") for row in order], system)


def afids_subject(one, subject, *, raters=None, truth=None, system="0", files="RAS"):
    """A subject of a set: image, raters (name to RAS points), their mean as truth."""
    nifti(one / subject / "anat" / f"{subject}_T1w.nii.gz", odd_affine())
    points = afids_points()
    raters = {"rater01": points + 0.2, "rater02": points - 0.2} if raters is None else raters
    truth = np.mean(list(raters.values()), axis=0) if truth is None else truth
    convert = {
        "RAS": lambda ras: ras,
        "LPS": lambda ras: ras * (-1, -1, 1),
        "IJK": lambda ras: to_world(np.linalg.inv(odd_affine()), ras),
    }[files]
    name = f"{subject}_space-T1w_desc-%s_afids.fcsv"
    base = one / "derivatives"
    afids_file(base / "afids_groundtruth" / subject / "anat" / (name % "groundtruth"), convert(truth), system)
    for rater, ras in raters.items():
        afids_file(base / "afids_rater" / subject / "anat" / (name % rater), convert(ras), system)
    return truth


# MML


def mml_case(root, split, number, rows, *, spacing=(0.4, 0.5, 0.6), header_spacing=(1.0, 1.0, 1.0), **image):
    array = nrrd(root / split / f"{number}_volume.nrrd", header_spacing, **image)
    np.save(root / split / f"{number}_label.npy", np.asarray(rows, dtype=np.float64))
    np.save(root / split / f"{number}_spacing.npy", np.asarray(spacing))
    return array


def mml_rows(seed=0):
    return np.random.default_rng(seed).integers(1, np.array(SHAPE) - 1, (14, 3)).astype(np.float64)


# PDDCA


def pddca_case(root, case, points, system="0"):
    """`points`: label to the numbers in the file's system."""
    nrrd(root / case / "img.nrrd", (1.5, 1.5, 2.0), (-20.0, -30.0, 40.0))
    nrrd(root / case / "structures" / "Mandible.nrrd")
    nrrd(root / case / "BrainStem.nrrd", (9.0, 9.0, 9.0))
    number = case[-4:]
    fcsv(
        root / case / f"Landmarks_{number}.fcsv",
        [(*map(float, point), label, "") for label, point in points.items()],
        system,
    )


# FeTA


def feta_case(root, subject, voxels, *, affine=None, transform=None, scan="mial", image=True):
    """`voxels`: value 1 to 5 to the voxels that have it; `transform`: (4, 4) in LPS, re-aligned to image."""
    affine = np.diag([-0.8, 0.8, 0.8, 1.0]) if affine is None else affine
    name = f"{subject}_rec-{scan}"
    if image:
        nifti(root / subject / "anat" / f"{name}_T2w.nii.gz", affine)
    labels = np.zeros(SHAPE, dtype=np.uint8)
    for value, places in voxels.items():
        for place in places:
            labels[tuple(place)] = value
    folder = root / "derivatives" / "biometry" / subject / "anat"
    nifti(folder / f"{name}_meas.nii.gz", affine, array=labels)
    if transform is not None:
        numbers = " ".join(repr(float(number)) for number in [*transform[:3, :3].ravel(), *transform[:3, 3]])
        (folder / f"{name}_trf.txt").write_text(
            "#Insight Transform File V1.0\n#Transform 0\nTransform: MatrixOffsetTransformBase_double_3_3\n"
            f"Parameters: {numbers}\nFixedParameters: 0 0 0\n"
        )
    return affine


FETA_VOXELS = {
    1: [(10, 5, 8), (10, 18, 9)],
    2: [(10, 8, 3), (10, 7, 9)],
    3: [(3, 12, 8), (16, 12, 8)],
    4: [(1, 12, 8), (18, 12, 8)],
    5: [(5, 6, 4), (14, 6, 4)],
}


# LFC


def line_markup(path, ends, system="LPS", labels=("L-1", "L-2"), statuses=("defined", "defined")):
    path.parent.mkdir(parents=True, exist_ok=True)
    points = [
        {"id": str(number), "label": label, "position": list(map(float, end)), "positionStatus": status}
        for number, (end, label, status) in enumerate(zip(ends, labels, statuses, strict=True), start=1)
    ]
    node = {"type": "Line", "coordinateSystem": system, "coordinateUnits": "mm", "controlPoints": points}
    path.write_text(json.dumps({"@schema": "x", "markups": [node]}))


LFC_RAS = {
    "BBD": [(-7.0, 0.0, 1.0), (7.0, 0.5, 1.0)],
    "CBD": [(-5.0, 0.0, 1.0), (5.0, 0.5, 1.0)],
    "TCD": [(-3.0, -4.0, -2.0), (3.0, -4.0, -2.0)],
    "FOD": [(0.0, -8.0, 1.0), (0.5, 8.0, 1.5)],
    "HDV": [(0.0, -4.0, -5.0), (0.0, -4.5, -1.0)],
    "ADV": [(0.0, -6.0, -3.0), (0.0, -2.0, -3.0)],
}


def lfc_case(root, split, number, without=(), flip=()):
    nifti(root / split / f"{number}.nii.gz", np.diag([0.8, 0.8, 0.8, 1.0]))
    (root / f"{split}_label" / number).mkdir(parents=True, exist_ok=True)
    for measure, ends in LFC_RAS.items():
        if measure not in without:
            lps = [np.array(end) * (-1, -1, 1) for end in (ends[::-1] if measure in flip else ends)]
            line_markup(root / f"{split}_label" / number / f"{measure}.mrk.json", lps)


# Fetal pose


def fetal_pose_case(root, case, spacing, landmarks, header=(9.0, 9.0, 9.0)):
    nifti(root / "volumes" / f"{case}.nii.gz", np.diag([*header, 1.0]))
    path = root / "landmark_anno" / f"{case}_landmark.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"spacing": spacing, "landmarks": landmarks}))


# ISBI 2015


def isbi_pixels(seed=0):
    return np.random.default_rng(seed).integers(3, 40, (19, 2)).astype(np.float64)


def isbi_case(root, place, number, junior, senior):
    image = root / "RawImage" / place / f"{number}.bmp"
    image.parent.mkdir(parents=True, exist_ok=True)
    grey = np.random.default_rng(int(number)).integers(0, 256, (50, 44)).astype(np.uint8)
    PillowImage.fromarray(np.stack([grey] * 3, axis=-1)).save(image)
    for rater, points in (("junior", junior), ("senior", senior)):
        path = root / "AnnotationsByMD" / f"400_{rater}" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{x:g},{y:g}\n" for x, y in points) + "1\n1\n2\n1\n3\n1\n1\n2\n")
    return grey


# Hand X-ray


def hand_xray_set(root, cases, numbers=None):
    """`cases`: name to (37, 2) pixels."""
    (root / "setup").mkdir(parents=True, exist_ok=True)
    rows = [",".join([name, *(f"{value:g}" for value in points.ravel())]) for name, points in cases.items()]
    (root / "setup" / "all.csv").write_text("\n".join(rows) + "\n")
    greys = {}
    for name in cases:
        path = root / "images" / f"{name}.mha"
        path.parent.mkdir(parents=True, exist_ok=True)
        grey = np.random.default_rng(int(name)).integers(0, 4096, (60, 48)).astype(np.uint16)
        image = itk.image_from_array(grey[None])
        image.SetSpacing([0.3, 0.3, 1.0])
        itk.imwrite(image, str(path))
        greys[name] = grey
    return greys


def hand_points(seed=0):
    points = np.random.default_rng(seed).integers(2, 46, (37, 2)).astype(np.float64)
    points[0], points[4] = (10.0, 50.0), (40.0, 10.0)  # 50 pixels apart
    return points


# Files that are not there


def annex_link(path: Path):
    """What `datalad install` leaves of a large file."""
    path.unlink(missing_ok=True)
    path.symlink_to("../../../.git/annex/objects/Wz/1q/MD5E-s9--d41d8.nii.gz/MD5E-s9--d41d8.nii.gz")


def annex_pointer(path: Path):
    """The same in an unlocked repository."""
    path.unlink(missing_ok=True)
    path.write_text("/annex/objects/MD5E-s9--d41d8.nii.gz\n")


def lfs_pointer(path: Path):
    path.unlink(missing_ok=True)
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")


def cut(path: Path, share=0.6):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
