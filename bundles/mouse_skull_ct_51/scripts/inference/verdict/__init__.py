"""Whether a predicted case can be trusted: `ok`, `check` or `failed`, with reasons in words."""
