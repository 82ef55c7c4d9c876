"""Whether a bundle would pass the checks of MONAI's model zoo, offline."""
