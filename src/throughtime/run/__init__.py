"""One training run, one sweep, one decoding job, and the records they leave."""
