"""Runs a bundle as a client of federated learning does; ``python -m federated REQUEST.json``.

Writes its answer beside the request.
"""

import json
import sys
from pathlib import Path

import torch
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems, ModelType, WeightType
from monai.fl.utils.exchange_object import ExchangeObject

from auto_config.federation.averaging import average
from auto_config.federation.rounds import LocalTraining, first_weights, landmark_layers, put_into_use


def rounds(bundles):
    """Two rounds in each bundle, by MONAI's own client: what it sends, finds and leaves."""
    return [two_rounds(Path(bundle)) for bundle in bundles]


def two_rounds(root):
    """Begins as a server does, with the weights of an untrained network."""
    algo = MonaiAlgo(bundle_root=str(root), local_epochs=1, send_weight_diff=True)
    algo.initialize({ExtraItems.CLIENT_NAME: "clinic"})
    weights = {name: tensor.clone() for name, tensor in algo.trainer.network.state_dict().items()}
    answer = {"finite": [all_finite(weights)], "rates": [], "epochs": [], "types": [], "steps": []}
    for _ in range(2):
        algo.train(ExchangeObject(weights={name: tensor.numpy() for name, tensor in weights.items()}))
        sent = algo.get_weights()
        answer["finite"].append(all_finite(sent.weights))
        answer["types"].append(sent.weight_type == WeightType.WEIGHT_DIFF)
        answer["steps"].append(sent.statistics["num_executed_iterations"])
        answer["rates"].append(algo.trainer.state.learning_rate)
        answer["epochs"].append(algo.trainer.state.epoch)
        weights = {name: tensor + sent.weights[name] for name, tensor in weights.items()}
    answer["cases"] = weights["shape.cases"].tolist()
    current = algo.trainer.network.state_dict()
    answer["sums"] = all(torch.allclose(weights[name].to(current[name]), current[name], atol=1e-5) for name in weights)
    exchange = ExchangeObject(weights={name: tensor.numpy() for name, tensor in weights.items()})
    answer["error"] = float(algo.evaluate(exchange).metrics["mre_mm"])
    best = algo.get_weights({ExtraItems.MODEL_TYPE: ModelType.BEST_MODEL}).weights
    answer["best"] = sorted(best) == sorted(weights)
    algo.finalize()
    return answer


def sites(bundles):
    """Two rounds of federated averaging over sites, the first of `bundles` being the coordinator's."""
    root, *joined = map(Path, bundles)
    weights = first_weights(root)
    layers = landmark_layers(root, weights)
    trained = [LocalTraining(bundle, rounds=2, name=bundle.name) for bundle in joined]
    answer = {"layers": layers, "errors": [], "rates": [], "known": [site.known.tolist() for site in trained]}
    for _ in range(2):
        updates = [site.round(weights) for site in trained]
        weights = average(updates, layers)
        answer["errors"].append([update.metrics["mre_mm"] for update in updates])
        answer["rates"].append([site._algo.trainer.state.learning_rate for site in trained])
    last = layers[0]
    answer["last"] = [update.weights[last].reshape(len(weights[last]), -1)[:, 0].tolist() for update in updates]
    answer["mean"] = weights[last].reshape(len(weights[last]), -1)[:, 0].tolist()
    answer["cases"] = [update.cases for update in updates]
    put_into_use(root, weights)
    for site in trained:
        site.close()
    return answer


def all_finite(weights):
    """Of every tensor that is sent."""
    return all(bool(torch.isfinite(torch.as_tensor(tensor)).all()) for tensor in weights.values())


if __name__ == "__main__":
    request = Path(sys.argv[1])
    asked = json.loads(request.read_text(encoding="utf-8"))
    found = {"rounds": rounds, "sites": sites}[asked["what"]](asked["bundles"])
    request.with_suffix(".answer").write_text(json.dumps(found), encoding="utf-8")
