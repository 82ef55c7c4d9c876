"""The parts of the landmark app."""
