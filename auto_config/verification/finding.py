"""What one check of a bundle found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "not checked", "failed"]


@dataclass(frozen=True)
class Finding:
    """The answer of one check.

    Args:
        what: was checked, in a few words.
        state: ``failed`` is what the zoo's checks refuse; a ``note`` is what people who look at a bundle would ask for;
            ``not checked`` says why in `problem`.
        problem: what is wrong and where; empty if nothing is.
        remedy: what to do about it; empty if nothing has to be done.

    Raises:
        ValueError: something failed, and it is not said what, or what to do about it.
    """

    what: str
    state: State
    problem: str = ""
    remedy: str = ""

    def __post_init__(self) -> None:
        if self.state == "failed" and not (self.problem and self.remedy):
            raise ValueError(f"{self.what}: failed without {'a remedy' if self.problem else 'a problem'}")

    def __str__(self) -> str:
        """One line, with the remedy."""
        said = "; ".join(part for part in (self.problem, self.remedy) if part)
        return f"{self.state:<11}  {self.what}" + (f": {said}" if said else "")


def passed(what: str) -> Finding:
    """Nothing is wrong."""
    return Finding(what, "ok")
