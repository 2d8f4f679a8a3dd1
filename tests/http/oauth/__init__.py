"""OAuth on a real database: what apps ask for, what they are given, and what becomes of it."""
