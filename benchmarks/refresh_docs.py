"""Write the lists of methods and networks in docs/ as the tables have them.

python benchmarks/refresh_docs.py
"""

from __future__ import annotations

import sys
from pathlib import Path

from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.methods.tables import filled


def main() -> int:
    """Refresh every page."""
    root = Path(__file__).parents[1]
    for path in sorted((root / "docs").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if filled(text) != text:
            atomic_write_text(path, filled(text))
            print(f"{path.relative_to(root)}: refreshed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
