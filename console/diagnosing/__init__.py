"""Why a server is ill or cannot start: checks of real files, ports, processes, logs and figures, and walks
through them.
"""
