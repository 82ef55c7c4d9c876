"""The last line of `verify` says what the lines above it say."""

import pytest

from auto_config.verification.checks import summary


@pytest.mark.parametrize(
    "counts, said",
    [
        ({"ok": 3}, "3 ok: nothing of this would be refused by the zoo"),
        ({"ok": 3, "not checked": 1}, "3 ok, 1 not checked: nothing of this would be refused by the zoo"),
        ({"ok": 3, "note": 2}, "3 ok, 2 note: no check failed; see the notes for what the zoo's commit hooks"),
        ({"ok": 3, "note": 2, "failed": 1}, "3 ok, 1 failed, 2 note: the zoo would refuse it"),
    ],
)
def test_notes_are_not_contradicted(counts, said):
    line = summary({state: counts.get(state, 0) for state in ("ok", "note", "not checked", "failed")})
    assert line.startswith(said)
    assert not ("note" in counts and "nothing" in line)
