"""Searches at the endpoint, on a real database."""
