"""What `inspect` says of a data set: cases, summary, table of landmarks, problems, page."""
