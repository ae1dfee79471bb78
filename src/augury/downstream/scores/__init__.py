"""Measures of how well a downstream task is solved."""
