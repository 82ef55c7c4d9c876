"""Pictures of what a user sees: the output of commands as SVG, and pages of reports by a browser.

python docs/site/pictures.py OUT.svg COMMAND...            e.g. docs/images/create.svg auto_config create scans b
python docs/site/pictures.py --width 900 --height 700 OUT.png PAGE.html

The first runs the command (or reads the file that it was written to, after `--from FILE`) and needs rich; the second
needs chromium.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

COLUMNS = 110


def drawn(command: str, output: str) -> str:
    """An SVG of a terminal in which the command was typed; it refers to nothing outside."""
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text(f"$ {command}", style="bold"))
    console.print(Text.from_ansi(output.rstrip()))
    svg = console.export_svg(title=command.split(maxsplit=1)[0], unique_id="terminal")
    # Its fonts would be fetched; every system has a monospaced one. `textLength` keeps the columns.
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;]*;", "font-family: monospace;", svg)
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def photographed(page: Path, out: Path, width: int, height: int) -> None:
    """A picture of the top of a page."""
    line = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--timeout=20000"]
    line += [f"--window-size={width},{height}", f"--screenshot={out}", page.resolve().as_uri()]
    subprocess.run(line, check=True, capture_output=True)


def main() -> int:
    """Make one picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=1100)
    parser.add_argument("--height", type=int, default=800)
    parser.add_argument("--from", dest="written", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("words", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    if given.out.suffix == ".png":
        photographed(Path(given.words[0]), given.out, given.width, given.height)
        return 0
    if given.written is not None:
        output = given.written.read_text(encoding="utf-8")
    else:
        environment = {**os.environ, "COLUMNS": str(COLUMNS), "NO_COLOR": "1"}
        done = subprocess.run(given.words, env=environment, capture_output=True, text=True, check=False)
        output = (done.stdout + done.stderr).replace(f"{Path.cwd()}/", "")
    given.out.write_text(drawn(shlex.join(given.words), output), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
