"""What a training step sees: patches, batches, augmentation, the trainer, metrics."""
