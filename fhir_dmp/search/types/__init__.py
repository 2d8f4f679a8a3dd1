"""One module for each type of search parameter: how a value is indexed and how it is asked for."""
