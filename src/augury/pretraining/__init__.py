"""Pretraining an encoder to predict pseudo-labels (the paper's second step)."""
