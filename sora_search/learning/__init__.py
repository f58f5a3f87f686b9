"""How the model comes to be: clips, augmentation, losses, training, measuring."""
