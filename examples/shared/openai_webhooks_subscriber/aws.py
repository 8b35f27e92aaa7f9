"""How long the functions wait for AWS."""

from botocore.config import Config

# botocore's defaults are 60 s, so a connection that died while the function was frozen could outlast the function. The
# second attempt makes a new connection.
CONFIG = Config(connect_timeout=1, read_timeout=1, retries={"mode": "standard", "total_max_attempts": 2})
"""For services that answer small requests in milliseconds: up to 3 s in two attempts."""
