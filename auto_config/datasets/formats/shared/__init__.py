"""What formats have in common: entries, points, tables, names of images, label maps, targets of writing."""
