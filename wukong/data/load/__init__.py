"""Prepared columns, or Parquet files as they are, to shuffled batches of one rank."""
