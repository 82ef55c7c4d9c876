"""Ways to spoil a file, for tests and for long fuzzing."""

import copy
import json
import random
from typing import Any

_NUMBERS = ["NaN", "Infinity", "-1e999", "1e308", "9" * 400, "9" * 5000, "0", "-1", "", "x", "1,5", "٣", "0x10", "1_0"]
_VALUES: list[Any] = [
    None, True, -1, 0, 1.5, 1e308, 10**400, float("nan"), float("inf"), "", "absent", "unknown", "$x", "a\0b", "a\nb",
    "\ud800", "../..", "x" * 5000, [], {}, [[]], [1], [1, 2], [1, 2, 3], [1, "2", 3], [[1, 2, 3]], {"a": 1},
]  # fmt: skip


def _slots(document: Any) -> list[tuple[Any, Any]]:
    """Every place in a JSON document: its container and its key."""
    found: list[tuple[Any, Any]] = []
    stack = [document]
    while stack:
        container = stack.pop()
        if not isinstance(container, dict | list):
            continue
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in keys:
            found.append((container, key))
            stack.append(container[key])
    return found


def _spoil_json(data: bytes, rng: random.Random) -> bytes:
    document = json.loads(data)
    for _ in range(rng.randint(1, 3)):
        slots = _slots(document)
        if not slots:
            break
        container, key = rng.choice(slots)
        action = rng.randrange(6)
        if action == 0:
            del container[key]
        elif action == 1:
            other, other_key = rng.choice(slots)
            container[key] = json.loads(json.dumps(other[other_key])) if other_key in _keys(other) else None
        elif action == 2 and isinstance(container, dict):
            container[rng.choice(["", "labels", "AC", "$", "\ud800", "9" * 30])] = container.pop(key)
        elif action == 3 and isinstance(container, list):
            container.insert(rng.randrange(len(container) + 1), copy.deepcopy(rng.choice(_VALUES)))
        else:
            container[key] = copy.deepcopy(rng.choice(_VALUES))
    text = json.dumps(document)
    if rng.random() < 0.05:
        deep = rng.choice([50, 2000, 200000])
        text = text.replace("[", "[" * deep, 1)
    return text.encode("utf-8", "surrogatepass")


def _keys(container: Any) -> Any:
    return container if isinstance(container, dict) else range(len(container))


def _spoil_text(data: bytes, rng: random.Random) -> bytes:
    action = rng.randrange(10)
    size = len(data)
    a, b = sorted((rng.randrange(size + 1), rng.randrange(size + 1)))
    if action == 0:
        return data[:a]
    if action == 1:
        return data[:a] + data[b:]
    if action == 2:
        return data[:a] + rng.randbytes(rng.randrange(1, 20)) + data[a:]
    if action == 3:
        return data[:a] + data[a:b] * 2 + data[b:]
    if action == 4:
        return rng.choice([b"\xef\xbb\xbf", b"\xff\xfe", b"\n\n", b"#\n", b"\0"]) + data
    if action == 5:
        return data.replace(b"\n", rng.choice([b"\r\n", b"\r", b"\n\n", b" ", b"\0"]))
    if action == 6:
        return data.decode("utf-8", "replace").encode(rng.choice(["utf-16", "utf-32", "utf-16-le"]))
    lines = data.split(b"\n")
    if action == 7:
        rng.shuffle(lines)
    elif action == 8:
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
    else:
        cells = lines[place := rng.randrange(len(lines))].split(separator := rng.choice([b",", b"\t", b":", b'"']))
        cells[rng.randrange(len(cells))] = rng.choice(_NUMBERS).encode()
        lines[place] = separator.join(cells)
    return b"\n".join(lines)


def spoil(data: bytes, seed: int) -> bytes:
    """Change a file somewhere, the same for the same seed."""
    rng = random.Random(seed)
    if rng.random() < 0.03:
        return rng.randbytes(rng.randrange(200))
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        is_json = data[:1] in (b"{", b"[")
        try:
            data = _spoil_json(data, rng) if is_json and rng.random() < 0.75 else _spoil_text(data, rng)
        except (ValueError, RecursionError):  # spoiled before, so that it is no JSON any more
            data = _spoil_text(data, rng)
    return data
