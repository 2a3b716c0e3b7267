"""The parts of a store's URL: `scheme://place/path?option=value`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from ..errors import InvalidRequest, did_you_mean


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """A store's URL, taken apart."""

    scheme: str
    """`rados` or `s3`."""
    place: str
    """The pool or bucket."""
    path: str
    """What follows the place, without slashes at its ends; may be empty."""
    options: Mapping[str, str]

    @property
    def url(self) -> str:
        """The URL that is taken apart into this."""
        path = f"/{quote(self.path)}" if self.path else ""
        options = f"?{urlencode(self.options, safe='/:.', quote_via=quote)}" if self.options else ""
        return f"{self.scheme}://{quote(self.place)}{path}{options}"

    def wrong(self, why: str) -> InvalidRequest:
        """Return the error for an address that cannot be meant."""
        return InvalidRequest(f"{self.url}: {why}")

    def number(self, option: str, default: float, least: float) -> float:
        """Return an option's number.

        Raises
        ------
        InvalidRequest
            If it is no number, or is less than `least`.
        """
        text = self.options.get(option)
        if text is None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value < float("inf"):
            raise self.wrong(f"{option}={text} must be a number, at least {least:g}")
        return value


def parse_address(address: str, options: Sequence[str]) -> StoreAddress:
    """Take the URL of a store apart.

    Parameters
    ----------
    address : str
        The URL.
    options : sequence of str
        The options that this kind of store knows.

    Raises
    ------
    InvalidRequest
        If pool or bucket are missing, or an option is unknown, empty or given twice.
    """
    parts = urlsplit(address)
    place = unquote(parts.netloc)
    if not place:
        raise InvalidRequest(f"{address!r} names no pool or bucket: {parts.scheme}://NAME")
    if parts.fragment:
        raise InvalidRequest(f"{address!r} has a '#'; write %23 instead")
    found: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in options:
            near = did_you_mean(name, options) or f"; there are {', '.join(options)}"
            raise InvalidRequest(f"unknown option {name!r} in {address!r}{near}")
        if not value or name in found:
            raise InvalidRequest(
                f"option {name!r} in {address!r} is {'empty' if not value else 'given twice'}"
            )
        found[name] = value
    ordered = {name: found[name] for name in options if name in found}
    return StoreAddress(parts.scheme, place, unquote(parts.path).strip("/"), ordered)
