"""Methods that train the mean of a heatmap to be the point."""
