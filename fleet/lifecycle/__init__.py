"""Start, stop and restart: one module a method, one table of them (``fleet.lifecycle.methods``).

Here belongs how a server is restarted and how one finds out whether a restart that was asked for took place.
Whether it may be restarted is the receiver's business, never decided here.
"""
