"""How each section of fleet.yml is read: one module a section, checked key by key.

Here belongs what a key means and how it may be wrong. YAML itself is ``fleet.parsing``'s, the whole file and
what spans sections is ``fleet.loading``'s.
"""
