"""What every part of the app needs: errors and answers, checks of what clients send, names, what was served."""
