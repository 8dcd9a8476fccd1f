"""The page: incidents as people read them.

Here belong the words, the timelines, the charts' geometry and the templates that make HTML of them; all of it is pure.
Routes, cookies and questions to Prometheus are ``receiver.pages``' and its neighbours'.
"""
