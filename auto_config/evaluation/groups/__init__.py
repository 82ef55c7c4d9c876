"""Errors of groups of cases, such as those of each site."""
