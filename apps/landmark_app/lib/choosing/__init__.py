"""Which image to annotate next, and how far people had to move what was found."""
