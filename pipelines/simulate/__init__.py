"""A synthetic hospital that knows the truth."""
