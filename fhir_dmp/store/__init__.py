"""The port of storage: what the server asks of a database, in words that no database owns."""
