"""Numerical engines: exact minima of sums of power laws, batched over starts and resamples."""
