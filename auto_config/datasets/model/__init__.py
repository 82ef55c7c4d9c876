"""What a data set is: cases, landmarks, what is declared about them, and their unit."""
