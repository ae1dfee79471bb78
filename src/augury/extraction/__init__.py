"""From recordings to arrays: embeddings of segments and candidates' values, through the store.

`plan` says what is wanted, `extract` computes it for one recording, `corpus` for all recordings of
a corpus over a pool of workers; `gather` reads the store back into arrays over segments.
"""
