"""What a worker does in a folder: one file a kind of work; `jobs` knows them all."""
