"""What the receiver can do to a server or learn about it: one function type, one table (``receiver.actions.table``).

Here belongs how an act is carried out and how one finds out afterwards whether it was. Whether it is allowed is
``receiver.policy``'s business; nothing of an alert reaches this place, only configured servers do.
"""
