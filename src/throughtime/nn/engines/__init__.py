"""How a cell runs over time: each engine takes the same cell, inputs and state, and gives the same numbers."""
