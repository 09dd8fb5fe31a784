"""Estimates of several hospitals made into one, from what each of them publishes."""
