"""Self-configuring landmark detection: from scans and points to a MONAI Bundle."""

__version__ = "0.1.0"
