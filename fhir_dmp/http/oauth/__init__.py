"""The OAuth endpoint."""
