"""The composition root: these modules alone know the database, the doors and HTTP at once."""
