"""Laws on paper and on disk: tables, LaTeX, laws.json, and all files of a study."""
