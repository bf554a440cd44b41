"""One file a kind of figure. A figure function takes tidy data and an optional Axes and returns the Axes; it never fits."""
