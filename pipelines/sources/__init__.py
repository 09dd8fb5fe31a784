"""From what hospitals send to events."""
