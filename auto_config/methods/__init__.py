"""Methods of landmark detection: one file for each, numpy only."""
