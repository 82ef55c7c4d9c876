"""Parts of `benchmarks/gpu.py`: the device, made data, bundles of them, and what is measured of each."""
