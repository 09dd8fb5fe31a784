"""What a good row is: checks as data, judged by Great Expectations and named by SQL."""
