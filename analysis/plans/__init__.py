"""What laws are asked for: predictions, allocations, expectations, and which trial to add."""
