"""What travels in every bundle as ``scripts/``: landmarks, transforms, targets, losses, networks, inference."""
