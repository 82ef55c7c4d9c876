"""A DICOM file of a few tags, written by hand: explicit VR little endian, one frame of 16 bit grey or 8 bit colour."""

import struct
from pathlib import Path

import numpy as np

LONG = ("OB", "OW")


def element(tag: str, kind: str, value: bytes) -> bytes:
    group, number = (int(part, 16) for part in tag.split("|"))
    value += (b"\0" if kind in ("UI", *LONG) else b" ") * (len(value) % 2)
    size = struct.pack("<2xI", len(value)) if kind in LONG else struct.pack("<H", len(value))
    return struct.pack("<HH", group, number) + kind.encode() + size + value


def write_dicom(path: Path, rows: np.ndarray, *, series: str = "1.2.3.1", name: str = "1", **tags: str) -> Path:
    """Write one slice.

    Args:
        path: file to write.
        rows: ``(rows, columns)`` uint16, or ``(rows, columns, 3)`` uint8.
        series: series instance UID.
        name: what makes the SOP instance UID unique.
        tags: ``position, orientation, spacing, detector, photometric, slope, intercept, modality``.
    """
    colour = rows.ndim == 3
    texts = {
        "0008|0016": ("UI", "1.2.840.10008.5.1.4.1.1.2"),
        "0008|0018": ("UI", f"1.2.3.9.{name}"),
        "0008|0060": ("CS", tags.get("modality", "CT")),
        "0018|1164": ("DS", tags.get("detector")),
        "0020|000d": ("UI", "1.2.3"),
        "0020|000e": ("UI", series),
        "0020|0013": ("IS", name.rpartition(".")[2]),
        "0020|0032": ("DS", tags.get("position")),
        "0020|0037": ("DS", tags.get("orientation")),
    }
    numbers = {
        "0028|0002": 3 if colour else 1,
        **({"0028|0006": 0} if colour else {}),
        "0028|0010": rows.shape[0],
        "0028|0011": rows.shape[1],
    }
    bits = {"0028|0100": 8 if colour else 16, "0028|0101": 8 if colour else 12, "0028|0102": 7 if colour else 11}
    photometric = tags.get("photometric", "RGB" if colour else "MONOCHROME2")
    late = {
        "0028|0030": ("DS", tags.get("spacing")),
        "0028|1052": ("DS", tags.get("intercept")),
        "0028|1053": ("DS", tags.get("slope")),
    }
    pairs = {tag: (kind, text.encode()) for tag, (kind, text) in {**texts, **late}.items() if text is not None}
    pairs["0028|0004"] = ("CS", photometric.encode())
    pairs |= {tag: ("US", struct.pack("<H", number)) for tag, number in {**numbers, **bits, "0028|0103": 0}.items()}
    body = b"".join(element(tag, *pairs[tag]) for tag in sorted(pairs))
    body += element("7fe0|0010", "OB" if colour else "OW", np.ascontiguousarray(rows).tobytes())
    syntax = element("0002|0010", "UI", b"1.2.840.10008.1.2.1") + element("0002|0003", "UI", f"1.2.3.9.{name}".encode())
    syntax = element("0002|0002", "UI", b"1.2.840.10008.5.1.4.1.1.2") + syntax[28:] + syntax[:28]
    head = element("0002|0000", "UL", struct.pack("<I", len(syntax)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(128) + b"DICM" + head + syntax + body)
    return path


def write_series(folder: Path, voxels: np.ndarray, *, step=(0.0, 0.0, 2.0), leave_out=(), first=0, **tags: str) -> None:
    """Write a volume ``(x, y, slices)`` as a series of axial slices, in file names of no order, spacing 0.7 x 0.5 mm.

    Slice k lies at ``step * k`` mm LPS from (-10, 20, 30); pixels are 0.5 mm wide and 0.7 mm high.
    """
    for k in range(voxels.shape[2]):
        if k in leave_out:
            continue
        at = np.array([-10.0, 20.0, 30.0]) + k * np.array(step)
        chosen = {"orientation": "1\\0\\0\\0\\1\\0", "spacing": "0.7\\0.5", **tags}
        write_dicom(
            folder / f"IM{(first + 7 * k) % 101:03d}",
            voxels[..., k].T.astype(np.uint16),
            name=f"{first}.{k + 1}",
            position="\\".join(f"{value:g}" for value in at),
            **chosen,
        )
