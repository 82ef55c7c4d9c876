"""What each site runs: NVFlare's client API around the rounds of `auto_config.federation`."""

import argparse
from pathlib import Path

import nvflare.client as flare

from auto_config.federation.rounds import LocalTraining


def main() -> None:
    """Train as long as the server asks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="folder that `auto_config join` wrote on this site")
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--local_epochs", type=int, default=1)
    asked = parser.parse_args()
    flare.init()
    site = LocalTraining(asked.bundle, rounds=asked.rounds, local_epochs=asked.local_epochs, name=flare.get_site_name())
    while flare.is_running():
        received = flare.receive()
        if received is None:
            break
        update = site.round(received.params)
        print(f"{flare.get_site_name()}: round {received.current_round}, {update.metrics}", flush=True)
        flare.send(
            flare.FLModel(
                params=dict(update.weights),
                metrics=dict(update.metrics),
                meta={"cases": update.cases, "known": update.known.tolist()},
            )
        )
    site.close()


if __name__ == "__main__":
    main()
