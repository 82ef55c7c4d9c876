"""The commands, a file each: signature and help, light at the top; the work is in the other packages."""
