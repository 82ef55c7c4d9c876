"""Starts MONAI Label with the server of this app: `python -m landmark_app.lib.server.start start_server ...`.

As `python -m monailabel.main start_server`, with the same options. But connections are bounded (`connections`), and
SIGTERM ends the server within seconds also where an inference runs: what it writes, it writes whole or not at all.
"""

from __future__ import annotations

import argparse
import gc
import os
import socket
import sys
import threading
from contextlib import suppress
from types import FrameType

import uvicorn
from monailabel.main import Main
from monailabel.utils.others.generic import init_log_config

from .connections import BoundedProtocol

FINISH_SECONDS = 2
"""How long requests may still run after SIGTERM, before their clients are left without an answer."""
END_SECONDS = 4.0
"""When the process ends at the latest, whatever its threads do."""
STARTUP_FAILURE = 3
SWITCH_SECONDS = 0.0005
"""After which a thread gives the interpreter to another that wants it. Python's 5 ms are waited for by the event loop
after each call of the system, as long as other threads work."""
LARGEST_HEAD = 64 * 1024
"""Bytes of a request's head: addresses of OHIF name many series."""


class EndingServer(uvicorn.Server):
    """uvicorn's server that answers while threads work, and ends in time, also where a thread does not."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, with an interpreter that stops for no other work.

        What is loaded by then stays: some 700,000 objects of torch and MONAI Label. The collector of cycles would go
        through all of them now and then, during which nothing else runs for half a second.
        """
        await super().startup(sockets)
        sys.setswitchinterval(SWITCH_SECONDS)
        gc.collect()
        gc.freeze()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End at SIGTERM or Ctrl-C: clients get their answers, as long as that takes seconds."""
        timer = threading.Timer(END_SECONDS, end, [sig])
        timer.daemon = True
        timer.start()
        super().handle_exit(sig, frame)


class Start(Main):
    """MONAI Label's command line with our uvicorn."""

    def action_start_server(self, args: argparse.Namespace) -> None:
        """Run the server until it is stopped."""
        self.start_server_validate_args(args)
        self.start_server_init_settings(args)
        log_config = init_log_config(args.log_config, args.app, "app.log", args.verbose)
        if args.dryrun:
            return
        config = uvicorn.Config(
            args.uvicorn_app if args.uvicorn_app != "monailabel.app:app" else "landmark_app.lib.server.application:app",
            host=args.host,
            port=args.port,
            root_path=args.root_path,
            log_level=args.log_level,
            log_config=log_config,
            use_colors=True,
            access_log=args.access_log,
            ssl_keyfile=args.ssl_keyfile,
            ssl_certfile=args.ssl_certfile,
            ssl_keyfile_password=args.ssl_keyfile_password,
            ssl_ca_certs=args.ssl_ca_certs,
            limit_concurrency=args.limit_concurrency,
            http=BoundedProtocol,
            ws="none",
            h11_max_incomplete_event_size=LARGEST_HEAD,
            timeout_graceful_shutdown=FINISH_SECONDS,
        )
        server = EndingServer(config)
        with suppress(KeyboardInterrupt):
            server.run()
        if not server.started:
            sys.exit(STARTUP_FAILURE)


def end(number: int) -> None:
    """End this process now; files are written beside the old ones and then renamed, so nothing is half there."""
    os._exit(128 + number)


if __name__ == "__main__":
    Start().run()
