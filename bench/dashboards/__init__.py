"""The dashboards drawn as Grafana draws them: the committed JSON, Grafana's own components, a headless Chromium.

There is no Grafana here: ``@grafana/ui`` and ``@grafana/data`` draw graphs, figures and tables; ``page.jsx`` adds what
they lack. A closed loop with faults fills the Prometheus that is asked. Never here: anything that changes a dashboard.
"""
