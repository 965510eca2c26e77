"""The store: content-addressed Parquet tables under one root."""
