"""The web server: connections, accounts, limits and routes."""
