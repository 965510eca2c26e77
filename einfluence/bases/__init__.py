"""Bases: finding a model's files, naming it by their content, and loading it as its objective says."""
