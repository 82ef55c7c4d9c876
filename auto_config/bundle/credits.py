"""Who made a bundle of which data: words for its metadata and its page, which only a person knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FIRST_CHANGE = "planned from the data"


@dataclass(frozen=True)
class Credits:
    """What a person says; None for what was not said.

    Args:
        authors: of the model.
        copyright: of the model.
        data_source: where the data come from.
        data_license: of the data.
        changes: what is in the first version.
    """

    authors: str | None = None
    copyright: str | None = None
    data_source: str | None = None
    data_license: str | None = None
    changes: str | None = None

    def of_metadata(self) -> dict[str, Any]:
        """Keys of ``configs/metadata.json`` in the place of the placeholders."""
        said = {"authors": self.authors, "copyright": self.copyright, "data_source": self.data_source}
        log = {"changelog": {"0.1.0": self.changes}} if self.changes else {}
        return {**log, **{key: text for key, text in said.items() if text}}

    def of_data(self) -> str:
        """Lines for the section on data of ``docs/README.md``; empty if nothing was said."""
        said = [("Source", self.data_source), ("Licence of the data", self.data_license)]
        return "".join(f"\n{head}: {text}\n" for head, text in said if text)

    def of_authors(self) -> str:
        """The section on authors; empty if nothing was said."""
        return f"\n## Authors\n{self.authors}\n" if self.authors else ""


UNSAID = Credits()
"""Nothing was said."""
