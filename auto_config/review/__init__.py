"""Which labels to look at again, and which scans to label next."""
