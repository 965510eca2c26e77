"""Estimators: everything that fills the influence table."""
