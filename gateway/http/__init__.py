"""HTTP/1.1 as a relay needs it: requests and answers read piece by piece, heads passed on, connections kept.

Belongs here: parsing (httptools), framing, which headers pass, client and server connections, their pool. Never here:
what a message means, what is measured or refused; any HTTP library with a model of its own.
"""
