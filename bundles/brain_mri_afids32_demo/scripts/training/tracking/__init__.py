"""What a training leaves for whoever follows it: error of each landmark, pictures, the plan, versions of code."""
