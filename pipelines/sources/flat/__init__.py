"""CSV and Parquet, told apart by a mapping file."""
