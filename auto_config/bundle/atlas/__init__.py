"""``atlas/`` of a bundle: what each landmark is, where it lies among the others, and pictures of it."""
