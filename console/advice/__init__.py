"""What could be better, with the figures behind it: recommendations, changes of the TOML, benchmarks.

Nothing is changed unasked.
"""
