"""Networks of a trained bundle as files for other programs, each checked, and the way to points in numbers."""
