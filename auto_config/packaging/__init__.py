"""One zip of a bundle that can be handed on: no data, no names of cases, no personal paths."""
