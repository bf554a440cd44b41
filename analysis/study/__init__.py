"""Which fits a table gets, how they are judged and compared, and what is repeated with something left out."""
