"""How a worker ends. What it achieved is on disk; a launcher needs no more than this."""

EXIT_DONE, EXIT_FAILED, EXIT_STOPPED, EXIT_BLOCKED, EXIT_HELD = 0, 1, 20, 21, 22

EXIT_WITHHELD = 23  # not started: its launch has met a bug common to all, or this node kills what it is given
