"""The engine for image classifiers."""
