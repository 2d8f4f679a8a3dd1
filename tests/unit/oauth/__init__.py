"""OAuth, without I/O but the loopback."""
