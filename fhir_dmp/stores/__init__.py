"""Adapters of the store port: the only place that names a database."""
