"""Small models and their data for `examples/`: of opinions, of names, and of facts to be completed."""
