"""What is wrong where a Dask scheduler is not reached. Dask's own settings say how to reach one by TLS."""

from __future__ import annotations

from typing import Final

import dask
from distributed import Security
from distributed.comm import CommClosedError

from skyhook_casa.errors import AccessDenied, InvalidRequest, StoreError

TLS: Final = "tls://"
SETTINGS: Final = ("ca-file", "client.cert", "client.key")
"""What a client needs, below `distributed.comm.tls` in Dask's settings."""
TO_SET: Final = (
    "set DASK_DISTRIBUTED__COMM__TLS__CA_FILE to the authority of the cluster, and "
    "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT and …__CLIENT__KEY to a certificate that it signed and its key"
)


def check_certificates(address: str) -> None:
    """Check that there are certificates, if a scheduler is to be reached by TLS.

    Raises
    ------
    InvalidRequest
        If there are none, or they cannot be read.
    """
    if not address.startswith(TLS):
        return
    try:
        context = Security().get_connection_args("client")["ssl_context"]
    except (OSError, ValueError) as error:
        raise InvalidRequest(
            f"the certificates for the Dask scheduler at {address} cannot be read ({error}): {_found()}; "
            f"{TO_SET}"
        ) from error
    if context is None:
        raise InvalidRequest(
            f"the Dask scheduler at {address} needs certificates; Dask's settings have {_found()}; {TO_SET}"
        )


def unreachable(address: str, error: Exception) -> StoreError:
    """Return what it means that a scheduler was not reached."""
    if not isinstance(error, CommClosedError):
        return StoreError(f"there is no Dask scheduler at {address}: {error}")
    if address.startswith(TLS):
        return AccessDenied(
            f"the Dask scheduler at {address} and this service do not trust each other ({error}); "
            f"Dask's settings have {_found()}; {TO_SET}"
        )
    return StoreError(
        f"the Dask scheduler at {address} broke off ({error}); if it speaks TLS, give tls:// instead of tcp://"
    )


def _found() -> str:
    """Return the certificates that are set; one may be given as text, and so a key: it is not shown."""
    values = {name: dask.config.get(f"distributed.comm.tls.{name}", None) for name in SETTINGS}
    shown = [
        f"{name} {'given as text' if chr(10) in value else value}" for name, value in values.items() if value
    ]
    return ", ".join(shown) or "none"
