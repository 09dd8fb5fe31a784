"""What the reference says and the product does not yet; empty, it goes."""

#: `reported` of a composite by a component of one that is not true; how many events a window has
#: that an `instant` study places by days.
PENDING = {"reported of composites", "events by days"}
