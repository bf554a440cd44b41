"""One file a kind of figure. A figure function takes tidy data and optional Axes, returns the Axes, never fits."""
