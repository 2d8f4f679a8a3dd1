"""What is wrong with a resource: a list of issues, no exceptions, no I/O."""
