"""The planner against the decisions of stock nnU-Net 2.6 / nnLandmark, row by row, and ours beside them.

Shapes and spacings are in array order (z, y, x), as published; the rule does not care for the order.
"""

import numpy as np
import pytest

from auto_config.methods import BACKBONES, METHODS
from auto_config.methods.unets import UNETS
from auto_config.planning import patch
from auto_config.planning.patch import cost_of
from auto_config.planning.stock import plan_stock_patch, step_gb, stock_nnunet_plan

NAMES = ("plain", "resenc_m", "resenc_l", "resenc_xl")
P128, S48, T64 = (128, 128, 128), (48, 96, 56), (64, 128, 128)
C160, A128 = (160, 160, 160), (128, 160, 112)

# shape, spacing (mm), landmarks, training cases; then patch and batch of plain, ResEncM, ResEncL, ResEncXL.
STOCK = [
    ((182, 218, 182), 1.0, 32, 110, [(P128, 2), (P128, 2), ((192, 224, 160), 2), ((192, 224, 192), 3)]),
    ((260, 311, 260), 0.7, 32, 110, [(P128, 2), (P128, 2), ((192, 224, 160), 2), ((224, 256, 192), 2)]),
    (
        (400, 512, 512),
        0.5,
        14,
        283,
        [((112, 160, 128), 2), ((112, 160, 128), 2), ((160, 224, 192), 2), ((192, 256, 256), 2)],
    ),
    ((64, 128, 128), 0.5, 14, 283, [(T64, 5), (T64, 5), (T64, 14), (T64, 25)]),
    (
        (150, 512, 512),
        (3, 0.98, 0.98),
        5,
        26,
        [((56, 192, 160), 2), ((56, 192, 160), 2), ((80, 256, 256), 2), ((80, 320, 320), 2)],
    ),
    ((140, 160, 130), 0.5, 10, 50, [(P128, 2), (P128, 2), (C160, 4), (C160, 6)]),
    ((120, 135, 110), 0.8, 12, 120, [(A128, 2), (A128, 2), (A128, 7), (A128, 11)]),
    (
        (200, 300, 300),
        0.5,
        22,
        800,
        [((96, 160, 128), 2), ((96, 160, 128), 2), ((128, 224, 224), 2), ((192, 256, 256), 2)],
    ),
    (
        (20, 512, 512),
        (5, 0.6, 0.6),
        6,
        100,
        [((14, 384, 320), 2), ((14, 320, 320), 2), ((20, 448, 448), 2), ((20, 512, 512), 3)],
    ),
    ((45, 90, 55), 0.3, 12, 20, [(S48, 2), (S48, 17), (S48, 17), (S48, 17)]),
    (
        (2400, 1935),
        0.1,
        19,
        150,
        [((1280, 1024), 2), ((512, 512), 12), ((896, 768), 13), ((1024, 1024), 13)],
    ),
]

# The same rows by our rule. Each difference has its reason in docs/planning.md: M memory of the loss counted, B batch
# capped at 5 % of the data set for every network, R batch rounded down, P in 2D the same memory spent on two patches.
OURS = [
    [((112, 128, 112), 2), ((112, 128, 112), 2), ((160, 192, 160), 2), ((192, 224, 192), 2)],  # M
    [((112, 128, 112), 2), ((112, 128, 112), 2), ((160, 192, 160), 2), ((192, 224, 192), 2)],  # M
    [((112, 128, 128), 2), ((112, 128, 128), 2), ((160, 192, 192), 2), ((192, 256, 224), 2)],  # M
    [(T64, 3), (T64, 4), (T64, 12), (T64, 14)],  # M, R; XL: B
    [((56, 192, 160), 2), ((56, 192, 160), 2), ((80, 256, 256), 2), ((80, 320, 320), 2)],  # as stock
    [(P128, 2), (P128, 2), (C160, 2), (C160, 2)],  # B
    [((128, 128, 112), 2), ((128, 128, 112), 2), (A128, 5), (A128, 5)],  # M; L, XL: B
    [((96, 128, 128), 2), ((96, 128, 128), 2), ((128, 224, 192), 2), ((160, 256, 224), 2)],  # M
    [((14, 320, 320), 2), ((12, 320, 320), 2), ((20, 448, 448), 2), ((20, 512, 512), 2)],  # M; XL: R
    [(S48, 2), (S48, 2), (S48, 2), (S48, 2)],  # B
    [((1024, 1024), 2), ((1280, 1024), 2), ((2048, 1792), 2), ((2048, 2048), 2)],  # M, P
]


def plan_patch(network, spacing, shape, *, landmarks, cases, memory_gb=None):
    """Our plan for the default method."""
    loss = METHODS["default"].loss_bytes_per_voxel
    cost = cost_of(network, len(shape), landmarks=landmarks, loss_bytes_per_voxel=loss, memory_gb=memory_gb)
    return patch.plan_patch(network, spacing, shape, cost, cases)


def _spacing(shape, spacing):
    return spacing if isinstance(spacing, tuple) else (spacing,) * len(shape)


@pytest.mark.parametrize("row", STOCK, ids=lambda row: "x".join(map(str, row[0])))
def test_stock_rules_give_the_published_table(row):
    shape, spacing, landmarks, cases, expected = row
    found = [stock_nnunet_plan(shape, _spacing(shape, spacing), landmarks, cases, name) for name in NAMES]
    assert found == expected


def stock_patch(row, name, memory_gb):
    """What method nnlandmark plans on a GPU of so much memory."""
    shape, spacing, landmarks, cases, _ = row
    plan = plan_stock_patch(
        UNETS[name],
        _spacing(shape, spacing),
        shape,
        landmarks=landmarks,
        cases=cases,
        loss_bytes_per_voxel=METHODS["nnlandmark"].loss_bytes_per_voxel,
        memory_gb=memory_gb,
    )
    return plan, (plan.topology.patch_size, plan.batch_size)


@pytest.mark.parametrize("row", STOCK, ids=lambda row: "x".join(map(str, row[0])))
def test_nnlandmark_has_the_published_patches_where_the_gpu_has_room_for_them(row):
    # 11 GB are enough for every row of what nnU-Net plans for 8, 32 for 24 GB, 54 for 40 GB.
    for name, room, expected in zip(NAMES, (11, 11, 32, 54), row[4], strict=True):
        plan, found = stock_patch(row, name, room)
        assert found == expected
        assert plan.reason.startswith("patch and batch are those of nnU-Net, for ")


@pytest.mark.parametrize("memory", [4, 6, 8, 10])
def test_nnlandmark_never_plans_more_than_the_memory(memory):
    for row in STOCK:
        for name, stock in zip(NAMES[:2], row[4][:2], strict=True):
            plan, (patch_size, batch) = stock_patch(row, name, memory)
            gigabytes = batch * step_gb(UNETS[name], plan.topology, row[2], METHODS["nnlandmark"].loss_bytes_per_voxel)
            assert gigabytes <= memory
            assert np.prod(patch_size) * batch <= np.prod(stock[0]) * stock[1]


def test_a_patch_of_a_small_picture_needs_some_memory():
    plan, _ = stock_patch(((80, 80), 0.5, 3, 7, None), "plain", 8)
    assert plan.reason == "patch and batch are those of nnU-Net, for less than 0.1 GB of GPU memory"


def test_what_a_smaller_gpu_costs_is_said():
    plan, found = stock_patch(STOCK[0], "plain", 8)
    assert found == ((112, 128, 112), 2)
    assert plan.reason == (
        "8 GB of GPU memory are less than the 9.5 GB of nnU-Net's patch 128x128x128 and batch 2, so they are smaller; "
        "--gpu_memory_gb says what there is"
    )


@pytest.mark.parametrize(("row", "expected"), list(zip(STOCK, OURS, strict=True)), ids=lambda row: str(row[0]))
def test_our_rules(row, expected):
    shape, spacing, landmarks, cases, _ = row
    plans = [
        plan_patch(BACKBONES[name], _spacing(shape, spacing), shape, landmarks=landmarks, cases=cases) for name in NAMES
    ]
    assert [(plan.topology.patch_size, plan.batch_size) for plan in plans] == expected


def test_more_memory_never_gives_less():
    shape, spacing = (182, 218, 182), (1.0, 1.0, 1.0)
    sizes = []
    for memory in (4, 8, 16, 40, 80):
        plan = plan_patch(BACKBONES["plain"], spacing, shape, landmarks=32, cases=110, memory_gb=memory)
        assert plan.values * plan.batch_size <= 2 * 560e6 * memory / 8
        edges = plan.topology.patch_size
        sizes.append(edges[0] * edges[1] * edges[2] * plan.batch_size)
    assert sizes == sorted(sizes)


def test_tiny_is_planned_by_voxels():
    plan = plan_patch(BACKBONES["tiny"], (1.0, 1.0, 1.0), (200, 200, 200), landmarks=200, cases=3)
    edges = plan.topology.patch_size
    assert 32_000 < edges[0] * edges[1] * edges[2] <= 64_000
    assert plan.batch_size == 2
