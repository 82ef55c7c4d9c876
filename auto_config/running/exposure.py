"""Which hosts a server without tokens may listen on and answer; `serve` asks before it starts, the server each time."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from urllib.parse import urlsplit


def exposure_problem(host: str, tokens: Path | None, insecure: bool) -> str | None:
    """Why a server must not listen on `host`, or None: without tokens only this machine may reach it."""
    if tokens is not None or insecure or host == "localhost" or is_loopback(host):
        return None
    return (
        f"--host {host} lets other machines reach the server, and nobody has to sign in; "
        "give --tokens FILE, or --insecure where the network alone protects it"
    )


def is_loopback(host: str) -> bool:
    """Whether a host is an address that only this machine has."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def names_this_machine(host: str) -> bool:
    """Whether a Host header is an address or localhost, which no foreign DNS entry can be."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:  # an open bracket
        return False
    if name == "localhost":
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
