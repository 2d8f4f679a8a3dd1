"""What OAuth keeps, on a real database."""
