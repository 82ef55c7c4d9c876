"""Processes: children, one function over many cases, what keeps two trainings apart, who may reach a server."""
