"""The course of a training: schedule, validation, checkpoints, progress."""
