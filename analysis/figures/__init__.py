"""One file a kind of figure. A figure function takes tidy data and optional Axes, returns the Axes, never fits."""

import os
import sys
from contextlib import suppress
from importlib.util import find_spec


def _import_matplotlib() -> None:
    """Import it whatever MPLBACKEND says: files need no backend, and one that is not installed stops the import.

    A notebook sets the variable for its own kernel, and every command that is started from a cell inherits it.
    """
    chosen = os.environ.pop("MPLBACKEND", None)
    import matplotlib

    matplotlib.rcParams["backend"] = "Agg"
    if chosen is not None:
        os.environ["MPLBACKEND"] = chosen
        module = chosen.removeprefix("module://").partition(".")[0]
        if not chosen.startswith("module://") or find_spec(module) is not None:
            with suppress(ValueError):
                matplotlib.rcParams["backend"] = chosen


if "matplotlib" not in sys.modules:
    _import_matplotlib()
