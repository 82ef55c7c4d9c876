"""Which decoders read nothing but a box around the highest voxel: numbers for planning, which has no torch."""

from __future__ import annotations

from auto_config.methods.base import Json

ARGMAX: Json = {"_target_": "scripts.methods.decoders.ArgmaxDecoder"}

_RADII = {
    ARGMAX["_target_"]: 5,
    "scripts.methods.gaussians.decoder.LearntPeakDecoder": 5,
    "scripts.methods.gaussians.decoder.PeakDecoder": 5,
    "scripts.methods.networks.value_decoders.TopCentroidDecoder": 10,
}


def box_radius(decoder: Json) -> int | None:
    """Half width in voxels of the box that a decoder reads, as `scripts.methods.boxes.local_decoder` finds it.

    Args:
        decoder: the part as it stands in a bundle.

    Returns:
        None for a decoder that reads the whole map.
    """
    radius = _RADII.get(decoder["_target_"])
    return None if radius is None else int(decoder.get("radius", radius))
