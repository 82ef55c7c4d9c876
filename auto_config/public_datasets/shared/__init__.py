"""What benchmarks have in common: readings, files that are really there, images, lines with two ends."""
