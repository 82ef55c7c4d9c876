"""Memory: counted to plan by, stated of what was planned, and what a machine has of it. No torch."""
