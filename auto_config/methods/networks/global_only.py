"""`global_only`: the first of the two networks of `global_to_local`, alone (Noothout et al.)."""

from __future__ import annotations

from dataclasses import replace

from auto_config.methods import global_to_local

METHOD = replace(
    global_to_local.METHOD,
    name="global_only",
    title="cells of a coarse grid vote where landmarks are, without a second look",
    stages="one",
    whole_anatomy=True,
)
