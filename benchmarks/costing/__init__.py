"""What work costs outside of networks: ours and today's usual way, each side in a process of its own."""
