"""From a plan to a bundle directory, and from a bundle directory to parts that predict."""
