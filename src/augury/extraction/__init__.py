"""From recordings to arrays: embeddings and pseudo-label values, through the store."""
