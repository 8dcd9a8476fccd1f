"""A new configuration or build of a server, in four phases behind gates, and the way back when a gate fails."""
