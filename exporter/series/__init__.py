"""How one source's reading becomes series: one pure module per source, composed by ``exporter.vitals``.

Here belongs: a function from a server and its reading to samples. Never: asking anything, choosing between sources.
"""
