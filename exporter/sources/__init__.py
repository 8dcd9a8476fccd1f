"""Where facts come from: one module per source, one function type, one explicit table (``table.py``).

A source reads one server's facts, in a thread or on the event loop, and returns them or raises ``SourceError``. It
keeps nothing between two reads but what it returned and what spares other servers the same work for a moment, never
renders a metric, and never knows that other sources exist. Redis is counted for all servers at once
(``redis_census.py``): it has no row in the table.
"""
