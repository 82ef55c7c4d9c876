"""The model card, ``docs/README.md``: sections that only who trained and tested the model can write."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


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
        f"| | points | mean {unit} | median | 95 % | worst |",
        "|---|---|---|---|---|---|",
        _row("all landmarks", metrics[key]),
    ]
    if metrics["mean_shape_baseline"]:
        lines.append(_row("always the mean shape", metrics["mean_shape_baseline"][key]))
    lines += [_row(name, block[key]) for name, block in metrics["per_landmark"].items()]
    if metrics["mre_interval"]:
        low, high = metrics["mre_interval"]
        lines += ["", f"95 % interval of the mean (bootstrap over cases): {low:.3g} to {high:.3g} {unit}."]
    if metrics["sdr"]:
        rates = ", ".join(
            f"{rate:.0f} % within {limit} {unit}" for limit, rate in metrics["sdr"].items() if rate is not None
        )
        lines += ["", f"Success: {rates}."]
    return "\n".join(lines)


def _row(name: str, numbers: Mapping[str, Any]) -> str:
    cells = ["-" if numbers.get(key) is None else f"{numbers[key]:.3g}" for key in ("mean", "median", "p95", "max")]
    return f"| {name.replace('|', '/')} | {numbers['n']} | {' | '.join(cells)} |"


def reliability(calibration: Mapping[str, Any]) -> str:
    """The section on regions and presence, from ``models/calibration.json``."""
    lines = [
        f"Calibrated on {calibration['cases']} cases that the networks had not seen ({calibration['source']}): each "
        "point comes with a region that holds the true point with a stated probability.",
    ]
    presence = calibration.get("presence")
    if presence is None:
        lines += ["", "Presence is not decided: no calibration case lacked a landmark."]
    elif presence.get("auroc") is not None:
        lines += ["", f"Presence is decided with an AUROC of {presence['auroc']:.3f} on the calibration cases."]
    if calibration["notes"]:
        lines += ["", *(f"- {note}" for note in calibration["notes"])]
    return "\n".join(lines)


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
    found = re.search(r"^## Data\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    before = found[1].strip() if found else ""
    return with_section(text, "Data", "\n\n".join([before, *said]))
