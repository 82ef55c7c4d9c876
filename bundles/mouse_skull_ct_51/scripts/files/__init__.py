"""Files are written whole or not at all, and opened only where they are files."""
