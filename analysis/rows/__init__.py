"""From files to rows: reading, what columns are called and play, units, and what the rows themselves say."""
