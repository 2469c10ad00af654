"""Cells, the recurrence that runs a cell over time, and the models built of them."""
