"""The event types: Avro contracts, their versions, and reading and writing them."""
