"""Methods and networks that came after the first ones, a file for each."""
