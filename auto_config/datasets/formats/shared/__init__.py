"""What formats have in common: entries, points, tables, names of images, label maps, and where a data set is written."""
