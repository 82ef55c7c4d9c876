"""Parts of methods that came after the first ones."""
