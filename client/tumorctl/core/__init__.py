"""Pure computation on arrays: no files, no network."""
