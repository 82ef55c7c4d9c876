"""From files of any supported format to one `Dataset`."""
