"""From an image and a network to points and files."""
