"""What text is, for every stage: its words, its tokens, who speaks in it."""
