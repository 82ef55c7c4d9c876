"""What a training takes from the one before it: predictions of unlabelled scans, and errors of its coarse stage."""
