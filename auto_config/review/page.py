"""The page of a review: one HTML file with pictures, nothing outside of it is loaded."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, LandmarkSet
from auto_config.datasets.images import read_image
from auto_config.errors import UserError
from auto_config.evaluation.report.pictures import error_picture
from auto_config.inspection.report import case_picture
from auto_config.review.cohort import Cohort, Finding
from auto_config.review.kinds import KINDS
from auto_config.review.scans import Suggested
from auto_config.wording import counted

BASIS = {
    "unseen": "a network that was not trained on this case",
    "seen": "a network that was trained on this label, which is weak evidence",
    "points": "the other points and cases alone, no network",
}

_STYLE = """body{font:15px/1.5 sans-serif;color:#222;max-width:60em;margin:0 auto;padding:0 1em 3em}
h1{font-size:1.5em;overflow-wrap:anywhere}h2{font-size:1.15em;margin-top:2em}h3{font-size:1em;margin:0}
.what{color:#b00020}.why{color:#555}figure{margin:1.2em 0 2em}img{max-width:100%;background:#000;display:block}
table{border-collapse:collapse}th,td{padding:.2em .8em .2em 0;text-align:left;border-bottom:1px solid #e3e3e3}"""

_LEGEND = (
    "Green ring: the label. Red cross: where it is expected. In volumes the upper row has slices through the label, "
    "the lower one through the expected place; patient right is on the left. A point called absent shows the "
    "ring where it "
    "is expected."
)


def review_page(
    title: str,
    cohort: Cohort,
    images: Mapping[str, Sequence[Path]],
    *,
    suspects: Sequence[Finding],
    others: Sequence[Finding],
    scans: Sequence[Suggested],
    notes: Sequence[str],
    shown: int,
) -> str:
    """The whole page.

    Args:
        title: name of the bundle.
        cohort: the labelled cases.
        images: their files.
        suspects: what is probably wrong, the clearest first.
        others: labels below the threshold, the most contradicted first.
        scans: what to label next, the best first.
        notes: sentences above it all.
        shown: number of suspects with a picture; the others are in the table alone.
    """
    parts = [
        f"<h1>Review of {html.escape(title)}</h1>",
        "".join(f"<p>{html.escape(note)}</p>" for note in notes),
        f"<h2>Labels to look at again: {len(suspects)}</h2>",
        f"<p>{_LEGEND}</p>" if suspects or others else "",
        _table(cohort, suspects),
        *(_figure(cohort, images, one) for one in suspects[:shown]),
    ]
    if others:
        parts += [
            "<h2>Below the threshold</h2>",
            "<p>The labels that are contradicted most among those that pass for usual; most of them are right.</p>",
            *(_figure(cohort, images, one) for one in others),
        ]
    if scans:
        parts += [
            f"<h2>Scans to label next: {len(scans)}</h2>",
            "<p>In this order: each is chosen in view of those before it. The points are predictions.</p>",
            *(_scan_figure(cohort, place, one) for place, one in enumerate(scans, start=1)),
        ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        f"<title>Review of {html.escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def landmark_text(cohort: Cohort, finding: Finding) -> str:
    """The landmarks of a finding in words."""
    return ", ".join(cohort.names[one] for one in finding.landmarks) if finding.landmarks else "all points"


def distance_text(cohort: Cohort, finding: Finding) -> str:
    """The distance of a finding with its unit, a dash where there is none."""
    return f"{finding.distance:.3g} {cohort.unit}" if np.isfinite(finding.distance) else "-"


def _table(cohort: Cohort, findings: Sequence[Finding]) -> str:
    if not findings:
        return "<p>No label is contradicted beyond the threshold.</p>"
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td>{html.escape(cell)}</td>"
            for cell in (
                cohort.cases[one.case],
                landmark_text(cohort, one),
                KINDS[one.kind].title,
                distance_text(cohort, one),
                f"{one.score:.2f}",
                one.basis,
            )
        )
        + "</tr>\n"
        for one in findings
    )
    heads = "".join(f"<th>{head}</th>" for head in ("case", "landmarks", "suspicion", "distance", "score", "rests on"))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _figure(cohort: Cohort, images: Mapping[str, Sequence[Path]], finding: Finding) -> str:
    case, kind = cohort.cases[finding.case], KINDS[finding.kind]
    names = landmark_text(cohort, finding)
    detail = f": {finding.detail}" if finding.detail else ""
    what = f"{kind.title}{detail}" if finding.score > 1 else "label and prediction differ"
    shown = "" if finding.landmarks else f" The picture shows {cohort.names[finding.landmark]}."
    text = (
        f"<h3>{html.escape(case)}: {html.escape(names)}</h3>"
        f'<p><span class="what">{html.escape(what)}</span>; {html.escape(distance_text(cohort, finding))} apart, score '
        f"{finding.score:.2f}. To do: {html.escape(kind.remedy)}.{html.escape(shown)} "
        f'<span class="why">Rests on {BASIS[finding.basis]}.</span></p>'
    )
    picture = _label_picture(cohort, images.get(case, ()), finding)
    return f"<figure><figcaption>{text}</figcaption>{_image(picture, f'slices of {case} at {names}')}</figure>"


def _label_picture(cohort: Cohort, paths: Sequence[Path], finding: Finding) -> bytes | None:
    """Slices through label and expected place, or through the one of them that is known."""
    label, expected = cohort.labels[finding.case, finding.landmark], finding.predicted
    places = [place for place in (label, expected) if np.isfinite(place).all()]
    if not places or not paths:
        return None
    try:
        return error_picture(read_image(list(paths)), places[0], places[-1])
    except (UserError, OSError, ValueError):
        return None


def _scan_figure(cohort: Cohort, place: int, one: Suggested) -> str:
    scan = one.scan
    text = f"<h3>{place}. {html.escape(scan.name)}</h3><p>{html.escape(one.reason)}.</p>"
    status = np.where(np.isfinite(scan.points).all(-1), PRESENT, ABSENT).astype(np.int8)
    try:
        picture = case_picture(read_image(list(scan.image)), LandmarkSet(cohort.names, scan.points, status))
    except (UserError, OSError, ValueError):
        picture = None
    return f"<figure><figcaption>{text}</figcaption>{_image(picture, f'slices of {scan.name}')}</figure>"


def _image(picture: bytes | None, alt: str) -> str:
    if picture is None:
        return "<p>The image cannot be shown.</p>"
    data = base64.b64encode(picture).decode()
    return f'<img alt="{html.escape(alt)}" src="data:image/jpeg;base64,{data}"/>'


def evidence_note(cohort: Cohort, false_alarms: float) -> str:
    """What the labels were compared with, and how often a correct one is named."""
    counts = {basis: sum(one == basis for one in cohort.basis) for basis in BASIS}
    parts = [f"{counted(count, 'case')} by {BASIS[basis]}" for basis, count in counts.items() if count]
    return (
        f"{counted(len(cohort.cases), 'labelled case')}, judged: {'; '.join(parts)}. Of 10 000 correct labels about "
        f"{10000 * false_alarms:.3g} that a network judges are named wrongly, if distances are log-normal above their "
        "median; labels judged by the points alone have the limits of `inspect`. A score above 1 is beyond it."
    )
