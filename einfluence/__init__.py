"""Empirical influence: what one training sample teaches a model, and whether it learned it the way it should."""
