"""From which size on losses on a CPU go through the channels one after the other: a number alone, for planning too."""

from __future__ import annotations

LARGE_CHANNEL = 2**18
"""Voxels of a channel, 64^3. Of smaller ones each operation is so short that threads wait for each other longer than
they work; these losses take the whole batch."""
