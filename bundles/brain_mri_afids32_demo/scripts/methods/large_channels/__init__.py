"""Losses of large channels on a CPU, and from which size on a channel is large."""
