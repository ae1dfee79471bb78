"""Training: encoders, what they are pretrained to predict, and how a run survives."""
