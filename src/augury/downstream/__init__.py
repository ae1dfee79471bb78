"""DownstreamModel tasks: how well one is done on features of a pretrained encoder (needs torch)."""
