"""Around a prediction: which images, heatmaps as probabilities, regions and their files."""
