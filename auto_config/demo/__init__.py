"""Built-in data, and what `demo` does with them beside the commands that it runs."""
