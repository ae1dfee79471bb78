"""Networks of the downstream tasks."""
