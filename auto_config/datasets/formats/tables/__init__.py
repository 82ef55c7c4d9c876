"""Tables and texts of points."""
