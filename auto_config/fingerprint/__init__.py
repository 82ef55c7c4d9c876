"""From a data set to its numbers: each image is read, checked and measured once."""
