"""The spatial configuration network, and the methods that are made for it."""
