"""One network trained at several sites: a package set up for the data of a site, local rounds, averages."""
