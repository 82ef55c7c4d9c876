"""Main memory that a process of this machine may still take."""

from __future__ import annotations

from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUPS = (
    # Limit, use, and where the use says which part of it is files that can be let go.
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current"), Path("/sys/fs/cgroup/memory.stat")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.stat"),
    ),
)
MB = 2**20


def free_memory_mb() -> float | None:
    """What is free in MB: of the machine, or of the container where its limit leaves less; None where nobody says."""
    known = [of_machine(_text(_MEMINFO)), *(of_container(*map(_text, files)) for files in _CGROUPS)]
    found = [free for free in known if free is not None]
    return min(found) if found else None


def of_machine(meminfo: str) -> float | None:
    """MB that programs can still take without swapping, from the text of ``/proc/meminfo``."""
    number = _number(meminfo, "MemAvailable:")
    return None if number is None else number / 1024


def of_container(limit: str, used: str, stat: str) -> float | None:
    """MB below the limit of a container; None without one.

    Args:
        limit: text of its file, ``max`` for none.
        used: bytes.
        stat: lines of names and bytes; files that nobody has read for a while count as free.
    """
    if not limit.strip().isdigit() or not used.strip().isdigit():
        return None
    idle = _number(stat, "total_inactive_file") or _number(stat, "inactive_file") or 0
    return max(0.0, (int(limit) - int(used) + idle) / MB)


def _number(text: str, name: str) -> int | None:
    """The number behind a name at the beginning of a line."""
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == name and words[1].isdigit():
            return int(words[1])
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
