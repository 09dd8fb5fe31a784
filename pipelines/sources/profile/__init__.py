"""What is in an extract that nobody has configured yet, without telling of any patient."""
