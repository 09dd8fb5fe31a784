"""The command line and the Prefect flows; they conduct and hold no logic of their own."""
