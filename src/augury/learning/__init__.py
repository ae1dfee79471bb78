"""Training, shared by pretraining and downstream tasks: batches, layers, loop, checkpoints."""
