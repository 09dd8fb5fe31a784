"""What is watched: study definitions, code lists and the tables they need."""
