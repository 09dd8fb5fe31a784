"""The site store and the published warehouse."""
