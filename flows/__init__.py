"""Prefect flows, one file each, and the `einfluence` command."""
