"""What watches a run: decoding, gradient norms, progress, W&B."""
