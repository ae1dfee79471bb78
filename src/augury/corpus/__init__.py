"""Labelled and unlabelled speech: what lies on disk as recordings, segments and labels."""
