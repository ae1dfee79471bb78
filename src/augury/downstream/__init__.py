"""Downstream tasks: how well each is solved on features of a pretrained encoder (needs torch)."""
