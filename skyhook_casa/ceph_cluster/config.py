"""What a development cluster is made of, and the `ceph.conf` that says so.

The options were chosen for a cluster that starts in seconds, listens on 127.0.0.1 only and lives in
one folder; they are no advice for a cluster that keeps data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import gettempdir
from typing import Final

from ..errors import InvalidRequest, NotFound

Options = Mapping[str, Mapping[str, object]]
"""Options of Ceph by section, such as ``{"osd": {"osd op num shards": 4}}``."""

POOL: Final = "skyhook"
"""The pool that every cluster has."""
S3_POOL: Final = "default.rgw.buckets.data"
"""Where radosgw keeps the bytes of objects."""
HOST: Final = "127.0.0.1"
RGW_NAME: Final = "client.rgw.r"
OBJECT_STORES: Final = ("memstore", "bluestore")
OSDS_MAX: Final = 16
PGS_PER_OSD_MIN: Final = 32
SOCKET_PATH_CHARS_MAX: Final = 107
"""Longest path of a socket that Linux takes."""
MIB: Final = 1024 * 1024
S3_OBJECT_BYTES_MAX: Final = 64 * MIB
"""An S3 object up to this size, put in one request, becomes one RADOS object."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything about a cluster that is fixed when it is made; kept in its folder."""

    fsid: str
    """The cluster's UUID."""
    osds: int
    """Number of OSDs."""
    store: str
    """Where OSDs keep objects: "memstore" or "bluestore"."""
    mgr: bool
    """Whether there is a manager, which `ceph df` and quotas need."""
    s3: bool
    """Whether there is a radosgw."""
    mon_port: int
    s3_port: int
    osd_port_min: int
    """OSDs bind the first free ports from here on."""
    extra: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Options that the caller added, by section; names with underscores."""

    def __post_init__(self) -> None:
        if not 1 <= self.osds <= OSDS_MAX:
            raise InvalidRequest(f"{self.osds} OSDs: a development cluster has 1 to {OSDS_MAX}")
        if self.store not in OBJECT_STORES:
            raise InvalidRequest(f"store {self.store!r} is unknown; there are {' and '.join(OBJECT_STORES)}")

    @property
    def copies(self) -> int:
        """Copies of an object in the pool `skyhook`: 2 if there are OSDs enough."""
        return min(2, self.osds)

    @property
    def pgs(self) -> int:
        """Placement groups of a pool of data: a power of two, at least PGS_PER_OSD_MIN for each OSD."""
        return 1 << (-(-PGS_PER_OSD_MIN * self.osds // self.copies) - 1).bit_length()

    def on_ports(self, mon: int, s3: int, osd_min: int) -> Settings:
        """The same cluster on other ports."""
        return replace(self, mon_port=mon, s3_port=s3, osd_port_min=osd_min)

    def to_json(self) -> str:
        """Return what `from_json` reads."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """Return the settings that `to_json` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things are in a cluster's folder."""

    folder: Path
    """Absolute, without symbolic links."""

    @property
    def settings(self) -> Path:
        """The file of `Settings`, which says that the folder holds a cluster."""
        return self.folder / "cluster.json"

    @property
    def conf(self) -> Path:
        """The `ceph.conf` of daemons and clients."""
        return self.folder / "ceph.conf"

    @property
    def monmap(self) -> Path:
        """Addresses of the monitors, for the first start."""
        return self.folder / "monmap"

    @property
    def classes(self) -> Path:
        """Links to the object classes that the OSDs load."""
        return self.folder / "classes"

    @property
    def logs(self) -> Path:
        """The daemons' logs (`.log`) and what they printed (`.out`)."""
        return self.folder / "log"

    @property
    def s3_credentials(self) -> Path:
        """A credentials file as AWS's tools read it."""
        return self.folder / "s3-credentials"

    def sockets(self, fsid: str) -> Path:
        """The daemons' sockets: in the folder, or elsewhere if its path is too long for a socket."""
        near = self.folder / "run"
        if len(str(near / "client.admin.0000.asok")) <= SOCKET_PATH_CHARS_MAX:
            return near
        return Path(gettempdir()) / f"skyhook-ceph-{fsid}"

    def keyring(self, user: str) -> Path:
        """The key of one user or daemon."""
        return self.folder / "keys" / f"{user}.keyring"

    def data(self, daemon: str) -> Path:
        """The data of one daemon, such as "osd.0"."""
        return self.folder / "data" / daemon

    def read_settings(self) -> Settings:
        """Return the cluster's settings.

        Raises
        ------
        NotFound
            If the folder holds no cluster.
        """
        if not self.settings.is_file():
            raise NotFound(f"{self.folder} holds no cluster made by `skyhook-casa ceph up`")
        return Settings.from_json(self.settings.read_text())


def normalized(extra: Options) -> dict[str, dict[str, str]]:
    """Return options with names as Ceph writes them: `osd op num shards` is `osd_op_num_shards`."""
    return {
        section: {name.replace(" ", "_").replace("-", "_"): str(value) for name, value in options.items()}
        for section, options in extra.items()
    }


def ceph_conf(layout: Layout, settings: Settings) -> str:
    """Return the text of `ceph.conf`."""
    sections: dict[str, dict[str, object]] = {
        "global": _global_options(layout, settings),
        "mon": _MON | {"mon_data": layout.data("mon.a"), "mon_cluster_log_file": layout.logs / "cluster.log"},
        "mgr": _MGR | {"mgr_data": layout.data("mgr.x")},
        "osd": _OSD
        | {
            "osd_data": layout.folder / "data" / "osd.$id",
            "osd_objectstore": settings.store,
            "osd_class_dir": layout.classes,
        },
        "client": {"admin_socket": "", "log_file": "/dev/null"},
        RGW_NAME: _RGW
        | {
            "rgw_data": layout.data("rgw.r"),
            # Without tcp_nodelay answers of a few KB take 40 ms.
            "rgw_frontends": f"beast endpoint={HOST}:{settings.s3_port} tcp_nodelay=1",
            "log_file": layout.logs / "rgw.r.log",
        },
    }
    for section, options in settings.extra.items():
        sections[section] = {**sections.get(section, {}), **options}
    return "\n".join(
        f"[{section}]\n" + "".join(f"{name} = {value}\n" for name, value in options.items())
        for section, options in sections.items()
    )


def _global_options(layout: Layout, settings: Settings) -> dict[str, object]:
    sockets = layout.sockets(settings.fsid)
    return {
        "fsid": settings.fsid,
        "mon_host": f"[v2:{HOST}:{settings.mon_port}]",
        "mon_initial_members": "a",
        "public_addr": HOST,
        "cluster_addr": HOST,
        "public_network": "127.0.0.0/8",
        "ms_bind_port_min": settings.osd_port_min,
        "ms_bind_port_max": settings.osd_port_min + 50 * settings.osds,
        "keyring": layout.folder / "keys" / "$name.keyring",
        "run_dir": sockets,
        "admin_socket": sockets / "$name.asok",
        "log_file": layout.logs / "$name.log",
        "crash_dir": layout.folder / "crash",
        "osd_pool_default_size": settings.copies,
        **_GLOBAL,
    }


_GLOBAL: Final[dict[str, object]] = {
    "ms_bind_msgr1": "false",
    "ms_bind_ipv6": "false",
    "ms_bind_retry_count": 1,
    "ms_bind_retry_delay": 1,
    "ms_async_op_threads": 2,
    "auth_cluster_required": "cephx",
    "auth_service_required": "cephx",
    "auth_client_required": "cephx",
    "auth_allow_insecure_global_id_reclaim": "false",
    "log_to_stderr": "false",
    "err_to_stderr": "true",
    "pid_file": "",
    "heartbeat_file": "",
    "osd_pool_default_min_size": 1,
    "osd_pool_default_pg_num": 8,
    "osd_pool_default_pgp_num": 8,
    "osd_pool_default_pg_autoscale_mode": "off",
    "osd_crush_chooseleaf_type": 0,
    "mon_allow_pool_delete": "true",
    "mon_allow_pool_size_one": "true",
    "mon_warn_on_pool_no_redundancy": "false",
    "mon_max_pg_per_osd": 2000,
}
_MON: Final[dict[str, object]] = {
    "mon_memory_autotune": "false",
    "mon_osd_cache_size": 10,
    "rocksdb_cache_size": 16 * MIB,
    "mon_rocksdb_options": "write_buffer_size=4194304,compression=kNoCompression,"
    "level_compaction_dynamic_level_bytes=true",
    "paxos_propose_interval": 0.05,
    "paxos_min_wait": 0.01,
    "mon_data_avail_warn": 1,
    "mon_data_avail_crit": 0,
    "mon_osd_down_out_interval": 600,
    "mon_pg_warn_min_per_osd": 0,
}
_MGR: Final[dict[str, object]] = {
    "mgr_tick_period": 1,
    "mgr_stats_period": 1,
    "mgr_initial_modules": "",
}
_OSD: Final[dict[str, object]] = {
    "osd_class_load_list": "*",
    "osd_class_default_list": "*",
    "osd_max_object_size": 256 * MIB,
    "osd_max_write_size": 256,
    "osd_scrub_min_interval": 8_640_000,
    "osd_scrub_max_interval": 8_640_000,
    "osd_deep_scrub_interval": 8_640_000,
    "osd_recovery_sleep_hdd": 0,
    "osd_recovery_sleep_ssd": 0,
    "osd_op_num_shards": 2,
    "osd_op_num_threads_per_shard": 2,
    "osd_memory_target": 896 * MIB,
    "osd_max_pg_log_entries": 200,
    "osd_min_pg_log_entries": 50,
    "osd_pg_log_dups_tracked": 50,
    "memstore_device_bytes": 4096 * MIB,
    "bluestore_block_create": "true",
    "bluestore_block_size": 20480 * MIB,
    "bluestore_block_wal_create": "false",
    "bluestore_block_db_create": "false",
    "bluestore_cache_autotune": "false",
    "bluestore_cache_size": 128 * MIB,
    "bluestore_cache_meta_ratio": 0.05,
    "bluestore_cache_kv_ratio": 0.05,
    "bluestore_rocksdb_options": "compression=kNoCompression,max_write_buffer_number=4,"
    "min_write_buffer_number_to_merge=1,recycle_log_file_num=4,write_buffer_size=8388608,"
    "writable_file_max_buffer_size=0,compaction_readahead_size=2097152,max_background_compactions=1",
}
_RGW: Final[dict[str, object]] = {
    "admin_socket": "",
    "rgw_thread_pool_size": 32,
    "rgw_num_rados_handles": 1,
    "rgw_enable_usage_log": "false",
    "rgw_run_sync_thread": "false",
    "rgw_gc_obj_min_wait": 5,
    "rgw_init_timeout": 60,
    "rgw_dns_name": "localhost",
    "rgw_max_chunk_size": S3_OBJECT_BYTES_MAX,
    "rgw_obj_stripe_size": S3_OBJECT_BYTES_MAX,
    "rgw_put_obj_min_window_size": S3_OBJECT_BYTES_MAX,
}
