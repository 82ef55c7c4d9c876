"""Planning knows without torch which decoders read a box around the highest voxel, and how wide it is."""

import inspect

import pytest
from contract_parts import parts_of, plan_of

from auto_config.bundle_scripts.inference.coarse_to_fine import CoarseToFineInferer
from auto_config.bundle_scripts.methods.boxes import local_decoder
from auto_config.memory.case import CROPS_AT_A_TIME
from auto_config.methods import METHODS
from auto_config.methods.combining.boxes import box_radius
from auto_config.methods.combining.decoders import DECODERS
from auto_config.methods.combining.of_plan import method_of


def check(plan):
    stage = plan.value("stages")[-1]
    built = local_decoder(parts_of(plan)[-1].decoder)
    assert box_radius(method_of(plan).parts(plan, stage).decoder) == (None if built is None else built.radius)
    return built


@pytest.mark.parametrize("method", METHODS)
def test_of_each_method(method):
    check(plan_of(method, 3))


def test_of_each_decoder_of_the_table():
    choices = {
        "argmax": {"loss": "top_k_bce"},
        "local_soft_argmax": {"loss": "one_hot"},
        "taylor": {"loss": "mse"},
        "spatial_mean": {"loss": "one_hot"},
        "top_centroid": {"loss": "hard_negatives"},
    }
    read = {
        name: check(plan_of("default", 3, 1, decoder=name, **options)) is not None for name, options in choices.items()
    }
    assert read == {
        "argmax": True,
        "local_soft_argmax": False,
        "taylor": False,
        "spatial_mean": False,
        "top_centroid": True,
    }
    assert set(DECODERS) - set(read) == {"anchor_balls", "votes"}  # those of the methods of their own


def test_crops_in_one_call_are_those_of_the_inferer():
    assert inspect.signature(CoarseToFineInferer).parameters["batch_size"].default == CROPS_AT_A_TIME
