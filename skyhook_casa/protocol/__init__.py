"""What client and service say to each other: the calls of ``delivery.proto``, and what travels in them.

The modules ``delivery_pb2`` and ``delivery_pb2_grpc`` are made from ``delivery.proto`` by ``make protocol``.
"""

from __future__ import annotations

import os
from typing import Final

# The gRPC inside of Arrow Flight else tells on stderr of each connection that ends.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

PROTOCOL_VERSION: Final = 1
"""Of the calls in ``delivery.proto``, and of what their bytes mean."""
PROTOCOL_KEY: Final = "skyhook-protocol"
"""Metadata of every call: the version that the caller speaks."""
CLIENT_KEY: Final = "skyhook-client"
"""Metadata: a name under which the service counts what one user does."""
QUERY_KEY: Final = "skyhook-query"
"""Metadata that the service sends first: the number of the query in its log."""
ERROR_KEY: Final = "skyhook-error-bin"
"""Trailing metadata of a call that failed: an `Error` message."""
RESOLVE_ACTION: Final = "resolve"
"""Flight action of a service: its body is a `ResolveAction`."""
MESSAGE_BYTES_MAX: Final = 16 << 20
"""Longest message of the control plane that either side accepts."""
INLINE_BYTES: Final = 256 << 10
"""Splits up to this size travel in the event that announces them."""
