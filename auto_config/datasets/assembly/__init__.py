"""Steps from the entries of a format to a data set: names, groups, places and missing points."""
