"""Write how often the host waits for a GPU in each path, on an emulated one, into docs/gpu.md.

python benchmarks/device_waits.py
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support" / part) for part in (".", "device", "methods")]

from waits import BEGIN, END, PAGE, table  # noqa: E402

from auto_config.bundle_scripts.files.text import atomic_write_text  # noqa: E402


def main() -> int:
    """Run every path and write the table."""
    text = PAGE.read_text(encoding="utf-8")
    head, tail = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    atomic_write_text(PAGE, f"{head}\n{table()}\n{tail}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
