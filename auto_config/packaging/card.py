"""The model card, ``docs/README.md``: sections that only who trained and tested the model can write."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from auto_config.bundle.documentation import ALWAYS_PREDICTED

USUAL_LEVEL = 0.9
"""``region_level`` of the ``inference.json`` that `create` writes, and what `predict` takes where no level is given."""
_PRESENCE_IS_DECIDED = (
    "Whether a landmark is in the image is decided by what the calibration learnt, and may be decided wrongly (see\n"
    "*Reliability*)."
)


def with_section(text: str, heading: str, body: str, *, before: str | None = None) -> str:
    """Markdown whose section of second level has this body.

    Args:
        text: the whole page.
        heading: without its signs.
        body: of the section.
        before: heading that a new section is put before; at the end if there is no such heading, or None is given.
    """
    section = f"## {heading}\n{body.strip()}\n\n"
    found = re.search(rf"^## {re.escape(heading)}\n.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if found:
        return text[: found.start()] + section + text[found.end() :]
    place = re.search(rf"^## {re.escape(before)}\n", text, re.MULTILINE) if before else None
    if place:
        return text[: place.start()] + section + text[place.start() :]
    return f"{text.rstrip()}\n\n{section}"


def section_of(text: str, heading: str) -> str:
    """What stands in a section of second level; empty if there is none.

    Args:
        text: the whole page.
        heading: without its signs.
    """
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def says_accuracy(text: str) -> bool:
    """Whether somebody wrote numbers into the section on accuracy.

    Args:
        text: the whole page.
    """
    body = section_of(text, "Performance")
    # A number with its unit, or in a row of a table; versions and dates are none.
    return re.search(r"\d\s*(?:mm|px|pixels?|voxels?|%)(?!\w)|^\|.*\d", body, re.MULTILINE) is not None


def with_presence(text: str, calibration: Mapping[str, Any]) -> str:
    """The page without the limit that every landmark is predicted, where the calibration decides on presence.

    Args:
        text: the whole page.
        calibration: content of ``models/calibration.json``.
    """
    if not calibration.get("presence"):
        return text
    start, _, _ = ALWAYS_PREDICTED.partition(", until")
    words = r"\s+".join(map(re.escape, start.split()))
    return re.sub(rf"{words}[^.]*\.", _PRESENCE_IS_DECIDED, text)


def performance(metrics: Mapping[str, Any]) -> str:
    """The section on accuracy, from ``metrics.json`` of an evaluation; no name of a case is in it.

    Args:
        metrics: its content.
    """
    unit, cases = metrics["unit"], metrics["cases"]
    key = f"mre_{unit}"
    seen = len(cases["training"])
    lines = [
        f"On {cases['evaluated']} cases"
        + (f", of which **{seen} were trained on, so this is no test**:" if seen else " that were not trained on:"),
        "",
        f"| | points | mean {unit} | its 95 % interval | median | 95 % | worst |",
        "|---|---|---|---|---|---|---|",
        _row("all landmarks", metrics[key], metrics["mre_interval"]),
    ]
    if metrics["mean_shape_baseline"]:
        lines.append(_row("always the mean shape", metrics["mean_shape_baseline"][key]))
    lines += [_row(name, block[key], block.get("mre_interval")) for name, block in metrics["per_landmark"].items()]
    lines += ["", "Intervals of means are by bootstrap over cases."]
    if metrics["sdr"]:
        rates = ", ".join(
            f"{rate:.0f} % within {limit} {unit}" for limit, rate in metrics["sdr"].items() if rate is not None
        )
        lines += ["", f"Success: {rates}."]
    return "\n".join(lines)


def _row(name: str, numbers: Mapping[str, Any], interval: Sequence[float] | None = None) -> str:
    mean, *others = [
        "-" if numbers.get(key) is None else f"{numbers[key]:.3g}" for key in ("mean", "median", "p95", "max")
    ]
    between = "-" if not interval else f"{interval[0]:.3g} to {interval[1]:.3g}"
    return f"| {name.replace('|', '/')} | {numbers['n']} | {mean} | {between} | {' | '.join(others)} |"


def robustness(calibration: Mapping[str, Any]) -> str | None:
    """The section on unusual images: unseen cases that the calibration spoiled, and what the verdict said of them.

    Args:
        calibration: content of ``models/calibration.json``.

    Returns:
        None where none were spoiled.
    """
    spoilings = (calibration.get("verdict") or {}).get("spoilings")
    if not spoilings:
        return None
    lines = [
        "Unseen cases were spoiled on purpose and predicted; each answer comes with a verdict. *Harmless* are those",
        "whose points were still as good as those of untouched cases.",
        "",
        "| spoiling | ok | check | failed |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {kind} | {' | '.join(str(counts.get(word, 0)) for word in ('ok', 'check', 'failed'))} |"
        for kind, counts in spoilings.items()
    ]
    return "\n".join(lines)


def reliability(calibration: Mapping[str, Any]) -> str:
    """The section on regions and presence, from ``models/calibration.json``."""
    lines = [
        f"Calibrated on {calibration['cases']} cases that the networks had not seen ({calibration['source']}): each "
        "point comes with a region that holds the true point with a stated probability.",
    ]
    said = _levels(calibration)
    lines += ["", said] if said else []
    presence = calibration.get("presence")
    if presence is None:
        lines += ["", "Presence is not decided: no calibration case lacked a landmark."]
    elif presence.get("auroc") is not None:
        lines += ["", f"Presence is decided with an AUROC of {presence['auroc']:.3f} on the calibration cases."]
    if calibration["notes"]:
        lines += ["", *(f"- {note}" for note in calibration["notes"])]
    return "\n".join(lines)


def _levels(calibration: Mapping[str, Any]) -> str:
    """Which level to ask for where the usual one has regions without an end; empty where it has none."""
    infinite = {
        level: sum(radius is None for radius in row)
        for level, row in zip(calibration["levels"], calibration["regions"]["ball_mm"], strict=True)
    }
    usual = infinite.get(USUAL_LEVEL, 0)
    if not usual:
        return ""
    finite = max((level for level, count in infinite.items() if not count), default=None)
    advice = (
        f"ask for `auto_config predict --level {finite:g}`, the highest at which all are finite (`--region_level"
        f" {finite:g}` of MONAI's command)"
        if finite is not None
        else "at no level are all of them finite: calibrate on more cases"
    )
    landmarks = len(calibration["landmarks"])
    said = f"At the usual level of {USUAL_LEVEL:g} the regions of {usual} of {landmarks} landmarks are infinite"
    return f"**{said}**; {advice}."


def atlas_section(document: Mapping[str, Any], pictures: int) -> str:
    """What the atlas shows, and of whom, and what nobody defined.

    Args:
        document: content of ``atlas/atlas.json``.
        pictures: files in it that show the image of a case.
    """
    said = "`atlas/atlas.json` says what each landmark is and where it lies in the mean shape of the training cases"
    shows = (
        f"{pictures} of its pictures show the image of a case; whoever packaged this bundle handed them on on purpose"
        if pictures
        else "its pictures are drawn from that shape alone and show nobody's image"
    )
    rows = document["landmarks"]
    undefined = [row["name"] for row in rows if not row.get("definition")]
    if not undefined:
        return f"{said};\n{shows}."
    missing = f"**{len(undefined)} of its {len(rows)} landmarks have no definition**: nobody gave one"
    return f"{said};\n{shows}. {missing}; `definition` in that file may be edited."


def data_section(text: str, source: str | None, licence: str | None) -> str:
    """Where the data come from, after what the section says already.

    Args:
        text: the whole page.
        source: of the data; None if it was not said.
        licence: of the data; None if it was not said.
    """
    said = [f"{head}: {what}" for head, what in (("Source", source), ("Licence of the data", licence)) if what]
    if not said:
        return text
    before = section_of(text, "Data")
    for line in said:  # what `create` was told is replaced
        before = re.sub(rf"^{re.escape(line.partition(':')[0])}: .*\n", "", before, flags=re.MULTILINE)
    before = re.sub(r"\n{3,}", "\n\n", before).strip()
    return with_section(text, "Data", "\n\n".join([before, *said]))
