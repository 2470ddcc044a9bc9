"""Results out: tables, masks, overlays."""
