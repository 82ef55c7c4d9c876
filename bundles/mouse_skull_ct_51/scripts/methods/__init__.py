"""Methods: what a network is trained towards, and how what it gives is read."""
