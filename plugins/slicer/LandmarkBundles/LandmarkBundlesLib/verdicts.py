"""The verdict on a case as the panel shows it: a word, the reasons, and what could not be judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

OK, CHECK, FAILED = "ok", "check", "failed"
COLORS = {OK: "#2e7d32", CHECK: "#b26a00", FAILED: "#c62828"}
_MEANING = {
    OK: "like the cases that the bundle was made for",
    CHECK: "look at the points",
    FAILED: "do not use the points as they are",
}


@dataclass(frozen=True)
class Verdict:
    """What a bundle says of a case.

    Attributes:
        word: ``ok``, ``check`` or ``failed``; empty where a bundle gives no verdicts.
        reasons: sentences, the weightiest first.
        not_judged: what this bundle cannot judge.
    """

    word: str = ""
    reasons: tuple[str, ...] = ()
    not_judged: tuple[str, ...] = ()

    @property
    def html(self) -> str:
        """For a label of the panel."""
        if not self.word:
            return "no verdict: an earlier version made this bundle"
        color = COLORS.get(self.word, "#000000")
        lines = [f'<b style="color:{color}">{escape(self.word)}</b>: {escape(_MEANING.get(self.word, ""))}']
        lines += [f"- {escape(reason)}" for reason in self.reasons]
        if self.not_judged:
            lines.append(f"not judged: {escape(', '.join(self.not_judged))}")
        return "<br>".join(lines)


def read_verdict(document: Any) -> Verdict:
    """The verdict of ``run.json`` or of a server's answer; an empty one where there is none.

    Args:
        document: ``{"verdict", "reasons", "not_judged"}``.
    """
    if not isinstance(document, Mapping) or not document.get("verdict"):
        return Verdict()
    reasons = tuple(str(reason) for reason in document.get("reasons") or ())
    return Verdict(str(document["verdict"]), reasons, tuple(str(what) for what in document.get("not_judged") or ()))
