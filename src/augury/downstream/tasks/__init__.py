"""DownstreamModel tasks, one file each."""
