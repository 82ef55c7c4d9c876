"""The devices that there are, and what clients call them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from monailabel.utils.others.generic import device_list, device_map

from .errors import ClientError

_DEVICE = re.compile(r"cpu|cuda(:\d{1,2})?")


@cache
def devices() -> list[str]:
    """Names of the devices that there are, as MONAI Label shows them and as torch calls them.

    Asked once: without a GPU, torch looks for the driver each time.
    """
    return list(dict.fromkeys(["cpu", *device_list(), *device_map().values()]))


def torch_device(given: Any, devices: Mapping[str, str]) -> str:
    """The device in torch's words.

    Args:
        given: of a client: a name, a list of which the first is meant, as Slicer sends, or nothing.
        devices: what clients call the devices, and what torch does; the first is the default.

    Raises:
        ClientError: the server does not have it.
    """
    if isinstance(given, list) and given:
        given = given[0]
    if given in (None, ""):
        return next(iter(devices.values()))
    if not isinstance(given, str) or not (given in devices or _DEVICE.fullmatch(given)):
        raise ClientError(f"device is {given!r}; give one of {', '.join(devices)}, or cpu, cuda or cuda:0")
    wanted = devices.get(given, given)
    if wanted == "cpu" or wanted in devices.values():
        return wanted
    # Clients send "cuda" as their default, also to a server that has none.
    if wanted == "cuda":
        return "cuda" if any(name.startswith("cuda") for name in devices.values()) else "cpu"
    raise ClientError(f"device is {given!r}, which this server does not have; give one of {', '.join(devices)} or cpu")
