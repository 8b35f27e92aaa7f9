"""One TLS context for all connections to AWS, so that the certificate authorities are read once, at init.

botocore creates a context for each client, and urllib3 reads the file of certificate authorities into it again for each
connection. OpenSSL uses about 20 ms of CPU for that. Neither library has an option to change it, so two of botocore's
methods are replaced: https://github.com/boto/botocore/issues/3171
"""

from functools import cache
from ssl import SSLContext
from typing import Any

from botocore.httpsession import URLLib3Session, create_urllib3_context, get_cert_path

_REPLACED = ("_get_ssl_context", "_setup_ssl_cert")


def share_tls_context() -> None:
    """Make all botocore sessions of this process that are created from now on share one TLS context.

    Raises RuntimeError if botocore no longer has the methods to replace.
    """
    if missing := [name for name in _REPLACED if not hasattr(URLLib3Session, name)]:
        raise RuntimeError(f"botocore's URLLib3Session has no {', '.join(missing)} any more: adapt {__name__}")
    for name, replacement in zip(_REPLACED, (_get_ssl_context, _setup_ssl_cert), strict=True):
        setattr(URLLib3Session, name, replacement)


@cache
def _context(bundle: str) -> SSLContext:
    context: SSLContext = create_urllib3_context()
    context.load_verify_locations(bundle)
    return context


def _get_ssl_context(session: Any) -> SSLContext:
    return _context(get_cert_path(session._verify))


def _setup_ssl_cert(_session: object, pool: Any, _url: str, _verify: object) -> None:
    # The context already contains the authorities, so the pool needs no file of them.
    pool.cert_reqs = "CERT_REQUIRED"
