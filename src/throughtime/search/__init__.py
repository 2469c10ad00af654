"""Greedy decoding, sampling and beam search over anything that can take one step."""
