"""Learning: embeddings, the probe, the training loop and what it leaves behind."""
