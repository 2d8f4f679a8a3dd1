"""Who may do what: pure functions from facts to rules, and the two ways to read a rule list."""
