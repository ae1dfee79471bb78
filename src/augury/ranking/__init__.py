"""Ranking candidates without training (the paper's first step)."""
