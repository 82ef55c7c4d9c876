"""What the plan decides about predictions."""
