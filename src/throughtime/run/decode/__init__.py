"""The parts of a decoding job: where lines come from, what they contain, what answers them, where the answers go."""
