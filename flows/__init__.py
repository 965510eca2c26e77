"""Prefect flows, one file each, and the `einfluence` command."""

import os

# Prefect reads its settings when it is imported, so they are set before any flow: nothing is sent outside, and a busy
# machine gets two minutes to start the temporary server.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
