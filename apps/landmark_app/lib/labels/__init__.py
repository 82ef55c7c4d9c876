"""From the files that clients send to landmarks, and from landmarks to the files that viewers show."""
