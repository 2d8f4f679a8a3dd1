"""The words of the standard, free of storage, rights and HTTP."""
