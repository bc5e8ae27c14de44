"""Which Naru this is."""

NARU_VERSION = "0.1.0"
API_VERSION = "1.51"
MIN_API_VERSION = "1.24"
SERVER = f"Naru/{NARU_VERSION} (linux)"
