"""Images into samples: found (sources, trees, rows, idx), read (decode), drawn by class (draw) and spoilt (corrupt)."""
