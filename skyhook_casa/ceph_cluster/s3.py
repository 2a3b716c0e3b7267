"""The user and the bucket of a cluster's radosgw."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
from email.utils import formatdate
from typing import Final

from ..errors import StoreError
from .config import HOST, Layout, Settings
from .daemons import run_tool

BUCKET: Final = "skyhook"
"""The bucket that every cluster with S3 has."""
USER: Final = "skyhook"
REQUEST_TIMEOUT_S: Final = 30.0


def create_user(layout: Layout) -> None:
    """Make the user, and keep its keys in the folder, as AWS's tools read them."""
    made = run_tool(
        layout,
        *("radosgw-admin", "-c", str(layout.conf), "user", "create"),
        *(f"--uid={USER}", f"--display-name={USER}"),
    )
    key = json.loads(made)["keys"][0]
    layout.s3_credentials.touch(mode=0o600)
    layout.s3_credentials.write_text(
        f"[default]\naws_access_key_id = {key['access_key']}\naws_secret_access_key = {key['secret_key']}\n"
    )


def keys(layout: Layout) -> tuple[str, str]:
    """Return the access key and the secret key."""
    lines = layout.s3_credentials.read_text().splitlines()
    access, secret = (line.partition(" = ")[2] for line in lines[1:3])
    return access, secret


def create_bucket(layout: Layout, settings: Settings, bucket: str = BUCKET) -> None:
    """Make a bucket; nothing happens if it is there."""
    access, secret = keys(layout)
    date = formatdate(usegmt=True)
    # Version 2 of S3's signatures, which radosgw takes, is a line; version 4 would need a library.
    digest = hmac.new(secret.encode(), f"PUT\n\n\n{date}\n/{bucket}".encode(), hashlib.sha1).digest()
    headers = {
        "Date": date,
        "Content-Length": "0",
        "Authorization": f"AWS {access}:{base64.b64encode(digest).decode()}",
    }
    connection = http.client.HTTPConnection(HOST, settings.s3_port, timeout=REQUEST_TIMEOUT_S)
    try:
        connection.request("PUT", f"/{bucket}", headers=headers)
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise StoreError(f"bucket {bucket} was not made: HTTP {response.status} {text}")
