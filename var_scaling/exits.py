"""How a worker ends. What it achieved is on disk; a launcher needs no more than this."""

EXIT_DONE, EXIT_FAILED, EXIT_STOPPED, EXIT_BLOCKED, EXIT_HELD = 0, 1, 20, 21, 22
