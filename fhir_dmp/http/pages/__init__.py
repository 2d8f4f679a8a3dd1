"""Pages for people: their frame, their words, and what a browser holds."""
