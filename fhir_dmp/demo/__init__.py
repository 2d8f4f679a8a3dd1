"""Synthetic French patients: invented people, made from a seed. No one here exists."""
