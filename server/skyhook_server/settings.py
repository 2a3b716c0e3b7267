"""What the service is told: flags, environment variables and a file, in this order."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import ByteSize, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from skyhook_casa.errors import InvalidRequest, did_you_mean
from skyhook_casa.protocol import MESSAGE_BYTES_MAX

PREFIX: Final = "SKYHOOK_SERVE_"
"""How the name of an environment variable begins: `SKYHOOK_SERVE_LISTEN` sets `listen`."""
CONFIG_VARIABLE: Final = f"{PREFIX}CONFIG"
"""Environment variable with the path of the configuration file."""
STORE_VARIABLE: Final = "SKYHOOK_STORE"
"""Environment variable with the store of all programs; ours, and the file, come first."""

_MIB: Final = 1 << 20
_ADDRESS: Final = re.compile(r"(?P<host>[^:\[\]\s]+|\[[0-9a-fA-F:.]+\]):(?P<port>\d{1,5})")
_CLUSTER: Final = re.compile(r"(tcp|tls)://[^\s/]+:\d{1,5}")
PORT_MAX: Final = 65535


def _bytes(default: int, description: str) -> Any:
    return Field(ByteSize(default), gt=0, description=description)


class Settings(BaseSettings):
    """All settings of the service. `Settings.load` finds them; the constructor takes only what it is given.

    Sizes may be written as ``"64MiB"``.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, validate_default=True
    )

    store: str = Field(
        "skyhook-store",
        min_length=1,
        description="Directory or URL of the store; `$SKYHOOK_STORE` if nothing else names one.",
    )
    catalog: str | None = Field(None, description="Database URL of the catalog; by default the store's own.")
    listen: str = Field("127.0.0.1:8815", description="`host:port` that clients call; port 0: any free one.")
    flight_port: int = Field(
        0, ge=0, le=PORT_MAX, description="Port of Arrow Flight on the same host; 0: any free one."
    )
    advertise: str | None = Field(
        None,
        description="Host name by which clients reach this machine; by default the one that they called.",
    )
    dask: str = Field(
        "local",
        description="`local` for workers in this process; "
        "or the `tcp://` or `tls://` address of a Dask scheduler.",
    )
    workers: int | None = Field(
        None, ge=1, description="Threads of the local workers; by default one for each usable core."
    )
    query_processes: int | None = Field(
        None,
        ge=0,
        description="Processes that plan queries and answer short ones, started when many are asked at once; "
        "by default one for each usable core, at most 4; 0: none.",
    )
    delivery: Literal["direct", "relay"] = Field(
        "direct",
        description="`direct`: clients fetch from the workers of a cluster; "
        "`relay`: all goes through the service.",
    )
    worker_flight_host: str | None = Field(
        None,
        description="Host on which workers listen for clients; "
        "by default the one by which the cluster knows the worker.",
    )
    metrics_listen: str | None = Field(
        None, description="`host:port` of the metrics for Prometheus, port 0: any free one; by default none."
    )
    log_format: Literal["console", "json"] = Field(
        "console", description="`console`: lines for people; `json`: one object a line."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least important lines of the log: `debug`, `info`, `warning` or `error`."
    )
    queries_max: int = Field(256, ge=1, description="Most queries that run at once; more are refused.")
    queries_per_client_max: int = Field(
        64, ge=1, description="Most queries of one client that run at once; more are refused."
    )
    split_bytes: ByteSize = _bytes(
        16 * _MIB, "Bytes of an answer that are made and fetched as one piece, about."
    )
    window_bytes: ByteSize = _bytes(
        64 * _MIB, "Bytes of one query's answer that may be ready without its client having taken them."
    )
    client_bytes_max: ByteSize = _bytes(
        512 * _MIB, "The same of all queries of one client together; over it, its new queries are refused."
    )
    held_bytes_max: ByteSize = _bytes(
        2048 * _MIB, "The same of all clients together; over it, new queries are refused."
    )
    cache_bytes: ByteSize = Field(
        ByteSize(256 * _MIB), ge=0, description="Bytes of answers that are kept for equal queries; 0: none."
    )
    functions: str | None = Field(
        None,
        description="Modules and packages, separated by commas, "
        "from which derived columns may import Python functions; by default none.",
    )
    turn_s: float = Field(
        0.25, gt=0, le=60, description="Seconds that a task may work before another query gets its turn."
    )
    hang_s: float = Field(
        60.0, gt=0, description="Seconds after which a piece of a query is also given to another worker."
    )
    ticket_s: float = Field(
        300.0, gt=0, description="Seconds after which a piece that nobody fetched is dropped."
    )
    drain_s: float = Field(
        30.0, ge=0, description="Seconds that running queries get to end when the service is stopped."
    )
    ingest_jobs_max: int = Field(
        2, ge=1, description="Most jobs that run at once, ingests and saves; others wait."
    )
    plan_cache: int = Field(512, ge=0, description="Plans of queries that are kept; 0: none.")
    request_bytes_max: ByteSize = Field(
        ByteSize(MESSAGE_BYTES_MAX),
        ge=64 << 10,
        le=MESSAGE_BYTES_MAX,
        description="Longest request that is read, in bytes.",
    )

    @property
    def function_modules(self) -> tuple[str, ...]:
        """What `functions` names."""
        return tuple(one.strip() for one in (self.functions or "").split(",") if one.strip())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what the constructor is given; `load` asks the other sources, to say where a value is from."""
        return (init_settings,)

    @classmethod
    def load(cls, flags: Mapping[str, Any] | None = None, config: str | Path | None = None) -> Settings:
        """Return the settings: `flags`, else the environment, else the file, else the defaults.

        Parameters
        ----------
        flags : mapping, optional
            Values by name; those that are None were not given.
        config : path, optional
            The TOML file; by default what the environment variable ``SKYHOOK_SERVE_CONFIG`` names.

        Raises
        ------
        InvalidRequest
            If a setting is unknown or wrong. The message names it and where it came from.
        """
        path = config or os.environ.get(CONFIG_VARIABLE)
        given: dict[str, tuple[Any, str]] = {}
        if os.environ.get(STORE_VARIABLE):
            given["store"] = os.environ[STORE_VARIABLE], f"${STORE_VARIABLE}"
        if path:
            given |= {name: (value, str(path)) for name, value in _of_file(Path(path)).items()}
        given |= {name: (value, f"${PREFIX}{name.upper()}") for name, value in _of_environment().items()}
        for name, value in (flags or {}).items():
            if value is not None:
                given[name] = value, f"--{name.replace('_', '-')}"
        try:
            return cls(**{name: value for name, (value, _) in given.items()})
        except ValidationError as error:
            origins = {name: origin for name, (_, origin) in given.items()}
            raise InvalidRequest("; ".join(_told(one, origins) for one in error.errors())) from None

    @field_validator("store")
    @classmethod
    def _no_service(cls, store: str) -> str:
        if store.lower().startswith(("grpc://", "grpcs://")):
            raise ValueError("the address of a service is no store; give a directory, rados://… or s3://…")
        return store

    @field_validator("listen", "metrics_listen")
    @classmethod
    def _address(cls, address: str | None) -> str | None:
        if address is not None:
            split_address(address)
        return address

    @field_validator("dask")
    @classmethod
    def _cluster(cls, dask: str) -> str:
        if dask != "local" and not _CLUSTER.fullmatch(dask):
            raise ValueError("local, tcp://host:port or tls://host:port is needed")
        return dask

    @field_validator("window_bytes", "client_bytes_max", "held_bytes_max")
    @classmethod
    def _has_room(cls, value: int, info: ValidationInfo) -> int:
        for_what = "split_bytes" if info.field_name == "window_bytes" else "window_bytes"
        least = info.data.get(for_what, 0)
        if value < least:
            raise ValueError(f"it must not be less than {for_what}, {int(least)}")
        return value


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of ``host:port``; an IPv6 host stands in brackets and is given without.

    Raises
    ------
    ValueError
        If it is of another form.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None or int(found["port"]) > PORT_MAX:
        raise ValueError("host:port is needed, such as 127.0.0.1:8815")
    return found["host"].strip("[]"), int(found["port"])


def _of_environment() -> dict[str, Any]:
    names = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for name in os.environ:
        # A limit with a slip in its name would silently not be there.
        if name.startswith(PREFIX) and name != CONFIG_VARIABLE and name not in names:
            raise InvalidRequest(f"${name} is no setting{did_you_mean(name, names)}")
    return EnvSettingsSource(Settings)()


def _of_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InvalidRequest(f"there is no configuration file {path}")
    try:
        return TomlConfigSettingsSource(Settings, path)()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path} is not TOML: {error}") from None


def _told(error: Mapping[str, Any], origins: Mapping[str, str]) -> str:
    """Return what is wrong with one setting."""
    name = str(error["loc"][0])
    if error["type"] == "extra_forbidden":
        return f"{name} in {origins[name]} is no setting{did_you_mean(name, Settings.model_fields)}"
    context = error.get("ctx") or {}
    why = str(context["error"]) if "error" in context else error["msg"]
    if error["type"] == "byte_size":
        why = "bytes are needed, such as 16MiB"
    value = error["input"]
    shown = int(value) if isinstance(value, int) and not isinstance(value, bool) else value
    return f"{name} is {shown!r} ({origins.get(name, 'the default')}): {why[:1].lower()}{why[1:]}"
