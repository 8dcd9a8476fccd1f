"""The closed loop on free loopback ports, for the demo, ``make up`` and the end-to-end tests.

Here belong fetching the real Prometheus and Alertmanager, starting the real programs in process groups of their
own, deriving their configuration from what is shipped (deploy/, rules/), and the timeline that shows a treatment.
Nothing here decides anything about an MCP server's health, keeps a second copy of a rule or of a configuration,
listens beyond loopback or writes outside the project. It is not part of the distribution.
"""
