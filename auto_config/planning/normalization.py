"""Intensities: what the network sees of them, and the value of air."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from auto_config.methods.plan import Decision

MIN_STD = 1e-6


def plan_normalization(
    intensity: Sequence[Mapping[str, float]],
    modality: str | Sequence[str] | None,
    guess: str | Sequence[str | None] | None,
) -> tuple[Decision, Decision]:
    """How intensities are normalised and with what images are padded.

    CT: values mean the same in every scan, so one window and one scale for all: clipped to the 0.5 and 99.5 percentiles
    of the body over the cohort, then minus the body's mean, divided by its standard deviation. Statistics are of the
    *body*; nnLandmark takes them from cubes at the landmarks, which on bone throws soft tissue and air into one value.
    Else: each image by its own mean and standard deviation without constant background.

    Args:
        intensity: statistics of each channel, see `Fingerprint.intensity`.
        modality: given by the user, ``"ct"``, ``"mr"`` or None, for all channels or one for each.
        guess: from the grey values, the same.

    Returns:
        Decisions ``normalization`` (a list with one entry for each channel) and ``pad_value`` (one number, in
        normalised units, channels averaged).
    """
    given, guessed = _for_each(modality, len(intensity)), _for_each(guess, len(intensity))
    channels = [_channel(*row) for row in zip(intensity, given, guessed, strict=True)]
    reasons = [reason for _, _, reason, _ in channels]
    reason = reasons[0]
    if len(set(reasons)) > 1:
        reason = "; ".join(f"channel {number}: {text}" for number, text in enumerate(reasons))
    pads = [pad for _, pad, _, _ in channels]
    pad_reason = "; ".join(dict.fromkeys(text for _, _, _, text in channels))
    if len(channels) > 1:
        pad_reason += "; mean over the channels"
    return Decision([rule for rule, _, _, _ in channels], reason), Decision(round(sum(pads) / len(pads), 4), pad_reason)


def _for_each(value: str | Sequence[str | None] | None, channels: int) -> Sequence[str | None]:
    """A value for each channel."""
    values = [value] if value is None or isinstance(value, str) else value
    return list(values) * channels if len(values) == 1 else values


def _channel(
    channel: Mapping[str, float], modality: str | None, guess: str | None
) -> tuple[dict[str, Any], float, str, str]:
    """Rule of a channel, its normalised value of air, and the reasons of both."""
    if (modality or guess) == "ct":
        told = modality is not None
        why = "given by the user" if told else "the grey values are Hounsfield units (they reach below -500)"
        rule = _ct_rule(channel)
        pad = (_clip(min(channel["air"], channel["p00_5"]), rule) - rule["mean"]) / rule["std"]
        reason = f"CT ({why}): clip to the 0.5 to 99.5 percentiles of the body over the cohort, then its mean and sd"
        return rule, pad, reason, "air, clipped and normalised like the image"
    why = "given by the user" if modality is not None else "the grey values are no Hounsfield units"
    reason = f"not CT ({why}): each image by its own mean and sd, constant background left out"
    return {"kind": "zscore"}, channel["air_zscore"], reason, "median over the cohort of the normalised value of air"


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
