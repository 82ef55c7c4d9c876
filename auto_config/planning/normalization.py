"""Intensities: what the network sees of them, and the value of air."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from auto_config.planning.plan import Decision

MIN_STD = 1e-6


def plan_normalization(
    intensity: Sequence[Mapping[str, float]], modality: str | None, guess: str | None
) -> tuple[Decision, Decision]:
    """How intensities are normalised and with what images are padded.

    CT: values mean the same in every scan, so one window and one scale for all: clipped to the 0.5 and 99.5 percentiles
    of the body over the cohort, then minus the body's mean, divided by its standard deviation. Statistics are of the
    *body*; nnLandmark takes them from cubes at the landmarks, which on bone throws soft tissue and air into one value.
    Else: each image by its own mean and standard deviation without constant background.

    Args:
        intensity: statistics of each channel, see `Fingerprint.intensity`.
        modality: given by the user, ``"ct"``, ``"mr"`` or None.
        guess: from the grey values, the same.

    Returns:
        Decisions ``normalization`` (a list with one entry for each channel) and ``pad_value`` (one number, in
        normalised units, channels averaged).
    """
    kind = modality if modality is not None else guess
    why = (
        "given by the user" if modality is not None else "the grey values are Hounsfield units (they reach below -500)"
    )
    if kind == "ct":
        rules: list[dict[str, Any]] = [_ct_rule(channel) for channel in intensity]
        pads = [
            (_clip(min(channel["air"], channel["p00_5"]), rule) - rule["mean"]) / rule["std"]
            for channel, rule in zip(intensity, rules, strict=True)
        ]
        reason = f"CT ({why}): clip to the 0.5 to 99.5 percentiles of the body over the cohort, then its mean and sd"
        pad_reason = "air, clipped and normalised like the image"
    else:
        rules = [{"kind": "zscore"} for _ in intensity]
        pads = [channel["air_zscore"] for channel in intensity]
        told = "given by the user" if modality is not None else "the grey values are no Hounsfield units"
        reason = f"not CT ({told}): each image by its own mean and sd, constant background left out"
        pad_reason = "median over the cohort of the normalised value of air"
    return Decision(rules, reason), Decision(round(sum(pads) / len(pads), 4), pad_reason)


def _ct_rule(channel: Mapping[str, float]) -> dict[str, Any]:
    return {
        "kind": "ct",
        "low": round(channel["p00_5"], 4),
        "high": round(channel["p99_5"], 4),
        "mean": round(channel["mean"], 4),
        "std": max(round(channel["std"], 4), MIN_STD),
    }


def _clip(value: float, rule: Mapping[str, Any]) -> float:
    return float(min(max(value, rule["low"]), rule["high"]))
