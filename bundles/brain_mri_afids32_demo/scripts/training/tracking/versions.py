"""Which code trains: versions of packages, a hash of the bundle's scripts, a commit of git where there is one."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("landmark-bundles", "monai", "torch", "numpy", "pytorch-ignite")
_SECONDS = 5


def code_versions(bundle: Path) -> dict[str, str]:
    """Short values by name; "none" for what is not installed, or where no git is.

    Args:
        bundle: folder of the bundle.
    """
    found = {package: _installed(package) for package in PACKAGES}
    return {
        **found,
        "python": platform.python_version(),
        "scripts_sha256": scripts_digest(bundle / "scripts"),
        "git_commit": git_commit(bundle),
    }


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def scripts_digest(folder: Path) -> str:
    """SHA-256 of names and content of all Python files of a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def git_commit(folder: Path) -> str:
    """Commit of the repository that a folder lies in, with ``+changes`` where files there differ; "none" without."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return "none"
    return f"{commit}+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no", ".") else commit


def _git(folder: Path, *words: str) -> str:
    try:
        ended = subprocess.run(
            ["git", "-C", str(folder), *words], check=False, capture_output=True, text=True, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ended.stdout.strip() if ended.returncode == 0 else ""
