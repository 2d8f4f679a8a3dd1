"""OAuth 2.0 and SMART, one module for each RFC, free of HTTP frameworks."""
