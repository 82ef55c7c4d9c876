"""Public landmark benchmarks: read as they are downloaded, converted with their published split."""

from auto_config.public_datasets.converting import BENCHMARKS, convert, read_benchmark
from auto_config.public_datasets.shared.benchmark import Benchmark, BenchmarkCase, BenchmarkReading

__all__ = ["BENCHMARKS", "Benchmark", "BenchmarkCase", "BenchmarkReading", "convert", "read_benchmark"]
