"""Gradients of single samples: what estimates are made of."""
