"""A forward and a backward pass of each real network on an emulated GPU, with few channels."""

from __future__ import annotations

from collections import Counter

import torch
from contract_parts import LANDMARKS, kinds, narrowed, parsed, plan_of
from emulated_gpu import GPU, emulated_gpu

from auto_config.bundle.parts import network_def
from auto_config.bundle_scripts.methods.interfaces import without_scalars

CHOSEN = ("plain", "resenc_m", "coord_conv", "hourglass")
"""Networks that `--network` gives the method `default`, besides `tiny`; the larger ones differ in numbers alone."""

UNUSED = ".encoder._"
"""In the names of weights that nothing calls: MONAI's FlexibleUNet keeps the classifier of its EfficientNet."""


def networks(dims: int) -> list[tuple[str, str | None]]:
    """Methods whose networks are made of different modules, and the networks that a user may choose."""
    return [*((method, None) for method in kinds(dims)), *(("default", network) for network in CHOSEN)]


def network_pass(method: str, network: str | None, dims: int) -> Counter[str]:
    """Waits of a forward and a backward pass through all stages; every weight in use must get a gradient there."""
    plan = plan_of(method, dims, **({} if network is None else {"network": network}))
    made = parsed({"network": narrowed(network_def(plan, LANDMARKS))}).get_parsed_content("network")
    sizes = {stage["name"]: stage["patch_size"] for stage in plan.value("stages")}
    generator = torch.Generator().manual_seed(0)
    images = {name: torch.randn(2, plan.value("channels"), *size, generator=generator) for name, size in sizes.items()}
    with emulated_gpu() as gpu:
        made = made.to(GPU).train()
        there = {name: image.to(GPU) for name, image in images.items()}
        gpu.reset()
        outputs = made(there)
        maps = [value for output in outputs.values() for value in without_scalars(output)[0].values()]
        assert maps and all(gpu.holds(value) for value in maps)
        sum(value.square().mean() for output in outputs.values() for value in output.values()).backward()
        waits = Counter(gpu.waits)
        gradients = {name: weight.grad for name, weight in made.named_parameters()}
        unused = [name for name, gradient in gradients.items() if gradient is None]
        assert all(UNUSED in name for name in unused), unused
        with gpu.uncounted():
            for name in gradients.keys() - unused:
                assert gpu.holds(gradients[name]) and bool(torch.isfinite(gradients[name]).all()), name
    return waits
