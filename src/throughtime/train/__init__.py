"""Loss, optimisers, the Lightning task, checkpoints."""
