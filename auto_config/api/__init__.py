"""What `import auto_config` gives in Python: the commands as typed functions, on files and on arrays in memory."""
