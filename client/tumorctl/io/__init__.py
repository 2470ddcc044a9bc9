"""Scans in: finding slices and reading them."""
