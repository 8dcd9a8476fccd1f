"""What was measured, as reports: the figures, their judgement, their trends. Reads only.

What computes is pure; ``asked`` modules gather the figures from the services.
"""
