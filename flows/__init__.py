"""The command line, the Prefect flow and the stages that both run; everything here is thin."""
