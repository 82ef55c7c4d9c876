"""A look only where the training cases have their landmarks: few windows, and all of them where that is in doubt."""
