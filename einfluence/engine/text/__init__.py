"""Engines for causal language models, whose texts can be packed into one sequence."""
