"""What the server of NVFlare runs: the average of sites that know different landmarks, and the bundle it ends up in."""

from pathlib import Path

import numpy as np
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.abstract.model import ModelLearnable, ModelLearnableKey, make_model_learnable
from nvflare.app_common.abstract.model_persistor import ModelPersistor
from nvflare.app_common.aggregators.model_aggregator import ModelAggregator

from auto_config.federation.averaging import SiteUpdate, average
from auto_config.federation.rounds import first_weights, landmark_layers, put_into_use


class BundleAggregator(ModelAggregator):
    """`auto_config.federation.averaging.average` of what the sites of a round send.

    Args:
        bundle: folder of the coordinator's bundle, on the server.
    """

    def __init__(self, bundle: str) -> None:
        super().__init__()
        self.bundle = bundle
        self.updates: list[SiteUpdate] = []

    def accept_model(self, model: FLModel) -> None:
        """Keep what one site sent."""
        weights = {name: np.asarray(array) for name, array in model.params.items()}
        known = np.array(model.meta["known"])
        self.updates.append(SiteUpdate(weights, int(model.meta["cases"]), known, model.metrics or {}))

    def aggregate_model(self) -> FLModel:
        """The weights of the next round, and the errors of those of this one, weighted by cases."""
        layers = landmark_layers(Path(self.bundle), self.updates[0].weights)
        names = set.intersection(*(set(update.metrics) for update in self.updates))
        cases = [update.cases for update in self.updates]
        metrics = {
            name: float(np.average([update.metrics[name] for update in self.updates], weights=cases))
            for name in sorted(names)
        }
        return FLModel(params=average(self.updates, layers), metrics=metrics)

    def reset_stats(self) -> None:
        """A new round begins."""
        self.updates = []


class BundlePersistor(ModelPersistor):
    """Begins with the weights of the coordinator's bundle and puts those of each round into use there.

    Args:
        bundle: folder of the coordinator's bundle, on the server.
    """

    def __init__(self, bundle: str) -> None:
        super().__init__()
        self.bundle = bundle

    def load_model(self, fl_ctx: FLContext) -> ModelLearnable:  # noqa: ARG002
        """Weights that the first round begins with."""
        return make_model_learnable(first_weights(Path(self.bundle)), {})

    def save_model(self, model: ModelLearnable, fl_ctx: FLContext) -> None:  # noqa: ARG002
        """Weights after a round."""
        put_into_use(Path(self.bundle), model[ModelLearnableKey.WEIGHTS])
