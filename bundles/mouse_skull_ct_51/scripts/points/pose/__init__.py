"""How cases lie: rotations of point sets against a mean shape."""
