"""The parts of a decoding job: where lines come from, what they hold, who answers them, where the answers go."""
