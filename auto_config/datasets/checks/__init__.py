"""What is wrong with cases, each by itself and compared with the others."""
