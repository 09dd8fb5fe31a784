"""What every part stands on: errors, DuckDB connections, files, site configuration, keys, zones."""
