"""Where facts come from: one module per source, one function type, one explicit table (``table.py``).

A source reads one server's facts, in a thread, and returns them or raises ``SourceError``. It keeps nothing
between two reads but what it returned, never renders a metric, and never knows that other sources exist.
"""
