"""The journal: append, read, and nothing else; the receiver's only state.

Here belong the stores (SQLite for one host, memory for tests and dry runs) and their errors. What the entries
mean is ``receiver.book``'s; what is written when is the engine's.
"""
