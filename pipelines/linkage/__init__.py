"""Which event follows which infusion, inside which window."""
