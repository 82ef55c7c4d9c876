"""Federated averaging of one bundle over sites, by NVFlare: simulated on this machine, or written as a job.

python job.py COORDINATOR site_a=BUNDLE_A site_b=BUNDLE_B --rounds 10 --workspace runs
python job.py COORDINATOR site_a=/data/site site_b=/srv/site --rounds 10 --export jobs

COORDINATOR is the bundle of whoever made the package, on the server: its weights begin the first round, and those of
each round are put into use there. Behind each name of a site stands the folder that `auto_config join` wrote there.
"""

import argparse
import sys
from pathlib import Path

try:
    from nvflare.job_config.script_runner import FrameworkType
    from nvflare.recipe import SimEnv, set_per_site_config
    from nvflare.recipe.fedavg import FedAvgRecipe
except ModuleNotFoundError as error:
    print(f"error: {error.name} is not installed, which runs the rounds: pip install nvflare", file=sys.stderr)
    sys.exit(2)
from components import BundleAggregator, BundlePersistor

HERE = Path(__file__).parent


def main() -> None:
    """Write or simulate the job."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("coordinator", type=Path)
    parser.add_argument("sites", nargs="+", metavar="NAME=BUNDLE")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--local_epochs", type=int, default=1)
    parser.add_argument("--workspace", type=Path, default=Path("runs"), help="where the simulator works")
    parser.add_argument("--export", type=Path, help="write the job here instead of simulating it")
    asked = parser.parse_args()
    sites = dict(site.split("=", 1) for site in asked.sites)
    places = sites if asked.export else {name: str(Path(place).absolute()) for name, place in sites.items()}
    for place in places.values():
        if len(place.split()) != 1:
            # NVFlare cuts the arguments of a script at blanks, and knows no quotes.
            parser.error(f"{place!r}: NVFlare passes no path with a blank on; give a folder or a link without one")
    coordinator = str(asked.coordinator.absolute())
    recipe = FedAvgRecipe(
        name="landmarks",
        min_clients=len(sites),
        num_rounds=asked.rounds,
        train_script=str(HERE / "client.py"),
        aggregator=BundleAggregator(coordinator),
        model_persistor=BundlePersistor(coordinator),
        framework=FrameworkType.RAW,
        key_metric="mre_mm",
        key_metric_mode="min",
    )
    told = f"--rounds {asked.rounds} --local_epochs {asked.local_epochs}"
    set_per_site_config(recipe, {name: {"train_args": f"--bundle {place} {told}"} for name, place in places.items()})
    if asked.export:
        recipe.export(str(asked.export))
        print(f"{asked.export / 'landmarks'}: submit it with NVFlare's admin console")
        return
    environment = SimEnv(clients=list(sites), num_threads=len(sites), workspace_root=str(asked.workspace.absolute()))
    recipe.execute(environment)
    print(f"{coordinator}/models/model.pt holds the weights after {asked.rounds} rounds")


if __name__ == "__main__":
    main()
