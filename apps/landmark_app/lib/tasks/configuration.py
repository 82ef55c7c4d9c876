"""What the person who starts the server chooses, as ``--conf NAME VALUE`` hands it over: strings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from auto_config.errors import UserError

from .infer import POINTS_FORMATS


@dataclass(frozen=True)
class Configuration:
    """The choices of the app; those of the server are read by the server.

    Attributes:
        bundles: folder with a folder for each bundle.
        models: names of the bundles to serve; None for all.
        device: what to run on, such as ``cpu`` or ``cuda:1``; None for the bundles' own choice.
        points_format: what NAME_points answers with, ``roi`` or ``fiducial``.
        follow_links: whether links to files outside of the folder of images are images.
    """

    bundles: Path
    models: tuple[str, ...] | None = None
    device: str | None = None
    points_format: str = POINTS_FORMATS[0]
    follow_links: bool = False


def read_configuration(conf: Mapping[str, str]) -> Configuration:
    """Read what ``--conf`` says.

    Raises:
        UserError: no folder of bundles, or a value that is not allowed.
    """
    if not conf.get("bundles"):
        raise UserError("no folder of bundles is given; add `--conf bundles FOLDER`")
    models = conf.get("models", "all")
    points_format = conf.get("points_format", POINTS_FORMATS[0])
    if points_format not in POINTS_FORMATS:
        raise UserError(f"--conf points_format {points_format}: allowed are {', '.join(POINTS_FORMATS)}")
    follow_links = str(conf.get("follow_links", "false")).strip().lower()
    if follow_links not in {"true", "false"}:
        raise UserError(f"--conf follow_links {follow_links}: give true or false")
    return Configuration(
        bundles=Path(conf["bundles"]),
        models=None if models == "all" else tuple(name.strip() for name in models.split(",") if name.strip()),
        device=conf.get("device") or None,
        points_format=points_format,
        follow_links=follow_links == "true",
    )
