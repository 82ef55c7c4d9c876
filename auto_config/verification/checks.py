"""All checks of a bundle: of its files and metadata, and those that run its code in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from auto_config.errors import UserError
from auto_config.verification.files import check_files
from auto_config.verification.finding import Finding, State
from auto_config.verification.json_form import check_json_form
from auto_config.verification.keys import check_keys
from auto_config.verification.metadata_checks import check_metadata
from auto_config.verification.style import check_style


def summary(counts: Mapping[State, int]) -> str:
    """The last line."""
    states: tuple[State, ...] = ("ok", "failed", "note", "not checked")
    said = [f"{counts[state]} {state}" for state in states if counts[state]]
    if counts["failed"]:
        verdict = "the zoo would refuse it"
    elif counts["note"]:
        verdict = "no check failed; see the notes for what the zoo's commit hooks and its readers would ask for"
    else:
        verdict = "nothing of this would be refused by the zoo"
    return f"{', '.join(said)}: {verdict}"


def findings_of(
    root: Path,
    *,
    dataset_dir: str | os.PathLike[str] | None = None,
    schema: str | os.PathLike[str] | None = None,
    monai: bool = True,
) -> list[Finding]:
    """What `verify` prints.

    Args:
        root: folder of the bundle.
        dataset_dir: folder with the images of its data list; None for that of ``train.json``.
        schema: a copy of the metadata's schema.
        monai: whether MONAI's commands are run as well, which takes seconds and runs the code of the bundle.

    Raises:
        UserError: not a bundle, or no such folder or file.
    """
    if not (root / "configs").is_dir():
        raise UserError(f"{root}: is no bundle, it has no configs/; give a folder that `auto_config create` wrote")
    if dataset_dir is not None and not Path(dataset_dir).is_dir():
        raise UserError(f"--dataset_dir {dataset_dir}: is not a folder")
    if schema is not None and not Path(schema).is_file():
        raise UserError(f"--schema {schema}: is not a file")
    root = root.resolve()
    metadata = check_metadata(root, None if schema is None else Path(schema))
    findings = [*check_files(root), check_json_form(root), *metadata, *check_keys(root)]
    needed = {"configs/metadata.json", "configs/inference.json", "configs/train.json"}
    if any(finding.state == "failed" and finding.what.split(" ")[0] in needed for finding in findings):
        return [*findings, Finding("MONAI's commands", "not checked", "the configs cannot be read")]
    if not monai:
        return findings
    findings += check_style(root)
    images = None if dataset_dir is None else str(Path(dataset_dir).resolve())
    return [*findings, *_run_monai(root, images)]


def _run_monai(root: Path, dataset_dir: str | None) -> Sequence[Finding]:
    """The checks that run the bundle's code, in a process of their own."""
    with tempfile.TemporaryDirectory() as folder:
        request, answer = Path(folder) / "request.json", Path(folder) / "answer.json"
        request.write_text(
            json.dumps({"bundle": str(root), "dataset_dir": dataset_dir, "answer": str(answer)}), encoding="utf-8"
        )
        ended = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "auto_config.verification.monai_checks", str(request)],
            capture_output=True,
            text=True,
            check=False,
        )
        if not answer.is_file():
            last = (ended.stderr.strip().splitlines() or [f"exit status {ended.returncode}"])[-1]
            return [Finding("MONAI's commands", "failed", last, "run one of them by hand: see docs/bundle.md")]
        return [Finding(**finding) for finding in json.loads(answer.read_text(encoding="utf-8"))]
