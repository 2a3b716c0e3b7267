from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Error(_message.Message):
    __slots__ = ("kind", "message", "text", "start", "stop", "retry_after_s", "query_id")
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_S_FIELD_NUMBER: _ClassVar[int]
    QUERY_ID_FIELD_NUMBER: _ClassVar[int]
    kind: str
    message: str
    text: str
    start: int
    stop: int
    retry_after_s: float
    query_id: str
    def __init__(self, kind: _Optional[str] = ..., message: _Optional[str] = ..., text: _Optional[str] = ..., start: _Optional[int] = ..., stop: _Optional[int] = ..., retry_after_s: _Optional[float] = ..., query_id: _Optional[str] = ...) -> None: ...

class HelloRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class HelloReply(_message.Message):
    __slots__ = ("server", "protocols", "flight_port", "flight_location", "store")
    SERVER_FIELD_NUMBER: _ClassVar[int]
    PROTOCOLS_FIELD_NUMBER: _ClassVar[int]
    FLIGHT_PORT_FIELD_NUMBER: _ClassVar[int]
    FLIGHT_LOCATION_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    server: str
    protocols: _containers.RepeatedScalarFieldContainer[int]
    flight_port: int
    flight_location: str
    store: str
    def __init__(self, server: _Optional[str] = ..., protocols: _Optional[_Iterable[int]] = ..., flight_port: _Optional[int] = ..., flight_location: _Optional[str] = ..., store: _Optional[str] = ...) -> None: ...

class ListDatasetsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DatasetRequest(_message.Message):
    __slots__ = ("dataset", "version")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    version: int
    def __init__(self, dataset: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class ColumnsRequest(_message.Message):
    __slots__ = ("dataset", "version", "pattern")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    version: int
    pattern: str
    def __init__(self, dataset: _Optional[str] = ..., version: _Optional[int] = ..., pattern: _Optional[str] = ...) -> None: ...

class TreeRequest(_message.Message):
    __slots__ = ("dataset", "version", "tree")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TREE_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    version: int
    tree: str
    def __init__(self, dataset: _Optional[str] = ..., version: _Optional[int] = ..., tree: _Optional[str] = ...) -> None: ...

class TreePiece(_message.Message):
    __slots__ = ("data", "last", "partition")
    DATA_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    last: bool
    partition: int
    def __init__(self, data: _Optional[bytes] = ..., last: _Optional[bool] = ..., partition: _Optional[int] = ...) -> None: ...

class DatasetVersion(_message.Message):
    __slots__ = ("id", "dataset", "number", "schema_id", "events", "partitions", "bytes", "created", "note")
    ID_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_ID_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    id: int
    dataset: str
    number: int
    schema_id: int
    events: int
    partitions: int
    bytes: int
    created: int
    note: str
    def __init__(self, id: _Optional[int] = ..., dataset: _Optional[str] = ..., number: _Optional[int] = ..., schema_id: _Optional[int] = ..., events: _Optional[int] = ..., partitions: _Optional[int] = ..., bytes: _Optional[int] = ..., created: _Optional[int] = ..., note: _Optional[str] = ...) -> None: ...

class DatasetInfo(_message.Message):
    __slots__ = ("name", "newest", "versions")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NEWEST_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    newest: DatasetVersion
    versions: int
    def __init__(self, name: _Optional[str] = ..., newest: _Optional[_Union[DatasetVersion, _Mapping]] = ..., versions: _Optional[int] = ...) -> None: ...

class Column(_message.Message):
    __slots__ = ("name", "dtype", "list", "counts", "title", "typename")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    LIST_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    TYPENAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: str
    list: str
    counts: str
    title: str
    typename: str
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[str] = ..., list: _Optional[str] = ..., counts: _Optional[str] = ..., title: _Optional[str] = ..., typename: _Optional[str] = ...) -> None: ...

class ListInfo(_message.Message):
    __slots__ = ("name", "collection", "counter")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    COUNTER_FIELD_NUMBER: _ClassVar[int]
    name: str
    collection: bool
    counter: str
    def __init__(self, name: _Optional[str] = ..., collection: _Optional[bool] = ..., counter: _Optional[str] = ...) -> None: ...

class FileInfo(_message.Message):
    __slots__ = ("path", "uuid", "tree", "entries", "bytes")
    PATH_FIELD_NUMBER: _ClassVar[int]
    UUID_FIELD_NUMBER: _ClassVar[int]
    TREE_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    path: str
    uuid: str
    tree: str
    entries: int
    bytes: int
    def __init__(self, path: _Optional[str] = ..., uuid: _Optional[str] = ..., tree: _Optional[str] = ..., entries: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class PartitionEvents(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, events: _Optional[_Iterable[int]] = ...) -> None: ...

class TallyRequest(_message.Message):
    __slots__ = ("dataset", "version", "partitions", "events", "skip", "count")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    SKIP_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    version: int
    partitions: PartitionRange
    events: int
    skip: int
    count: bool
    def __init__(self, dataset: _Optional[str] = ..., version: _Optional[int] = ..., partitions: _Optional[_Union[PartitionRange, _Mapping]] = ..., events: _Optional[int] = ..., skip: _Optional[int] = ..., count: _Optional[bool] = ...) -> None: ...

class Tally(_message.Message):
    __slots__ = ("weights", "sections", "unknown")
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    SECTIONS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    weights: str
    sections: bytes
    unknown: bool
    def __init__(self, weights: _Optional[str] = ..., sections: _Optional[bytes] = ..., unknown: _Optional[bool] = ...) -> None: ...

class Origin(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class Done(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class BadObject(_message.Message):
    __slots__ = ("name", "holds", "problems")
    NAME_FIELD_NUMBER: _ClassVar[int]
    HOLDS_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    name: str
    holds: str
    problems: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., holds: _Optional[str] = ..., problems: _Optional[_Iterable[str]] = ...) -> None: ...

class Verification(_message.Message):
    __slots__ = ("dataset", "number", "objects", "bytes", "bad", "objects_inside", "bytes_moved", "reason")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    BAD_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_INSIDE_FIELD_NUMBER: _ClassVar[int]
    BYTES_MOVED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    number: int
    objects: int
    bytes: int
    bad: _containers.RepeatedCompositeFieldContainer[BadObject]
    objects_inside: int
    bytes_moved: int
    reason: str
    def __init__(self, dataset: _Optional[str] = ..., number: _Optional[int] = ..., objects: _Optional[int] = ..., bytes: _Optional[int] = ..., bad: _Optional[_Iterable[_Union[BadObject, _Mapping]]] = ..., objects_inside: _Optional[int] = ..., bytes_moved: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class VerifyEvent(_message.Message):
    __slots__ = ("progress", "found")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    progress: Advance
    found: Verification
    def __init__(self, progress: _Optional[_Union[Advance, _Mapping]] = ..., found: _Optional[_Union[Verification, _Mapping]] = ...) -> None: ...

class Advance(_message.Message):
    __slots__ = ("done", "total")
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    done: int
    total: int
    def __init__(self, done: _Optional[int] = ..., total: _Optional[int] = ...) -> None: ...

class GarbageRequest(_message.Message):
    __slots__ = ("dry_run", "grace_s")
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    GRACE_S_FIELD_NUMBER: _ClassVar[int]
    dry_run: bool
    grace_s: float
    def __init__(self, dry_run: _Optional[bool] = ..., grace_s: _Optional[float] = ...) -> None: ...

class Garbage(_message.Message):
    __slots__ = ("dry_run", "objects", "bytes", "kept_objects", "foreign_objects", "unfinished", "jobs")
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    KEPT_OBJECTS_FIELD_NUMBER: _ClassVar[int]
    FOREIGN_OBJECTS_FIELD_NUMBER: _ClassVar[int]
    UNFINISHED_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    dry_run: bool
    objects: int
    bytes: int
    kept_objects: int
    foreign_objects: int
    unfinished: int
    jobs: _containers.RepeatedCompositeFieldContainer[IngestRun]
    def __init__(self, dry_run: _Optional[bool] = ..., objects: _Optional[int] = ..., bytes: _Optional[int] = ..., kept_objects: _Optional[int] = ..., foreign_objects: _Optional[int] = ..., unfinished: _Optional[int] = ..., jobs: _Optional[_Iterable[_Union[IngestRun, _Mapping]]] = ...) -> None: ...

class IngestRun(_message.Message):
    __slots__ = ("id", "key", "dataset", "state", "description", "version", "updated")
    ID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    UPDATED_FIELD_NUMBER: _ClassVar[int]
    id: int
    key: str
    dataset: str
    state: str
    description: str
    version: int
    updated: int
    def __init__(self, id: _Optional[int] = ..., key: _Optional[str] = ..., dataset: _Optional[str] = ..., state: _Optional[str] = ..., description: _Optional[str] = ..., version: _Optional[int] = ..., updated: _Optional[int] = ...) -> None: ...

class AddColumnsRequest(_message.Message):
    __slots__ = ("dataset", "files", "columns", "on", "fill", "replace", "tree")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    ON_FIELD_NUMBER: _ClassVar[int]
    FILL_FIELD_NUMBER: _ClassVar[int]
    REPLACE_FIELD_NUMBER: _ClassVar[int]
    TREE_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    files: _containers.RepeatedScalarFieldContainer[str]
    columns: _containers.RepeatedScalarFieldContainer[str]
    on: _containers.RepeatedScalarFieldContainer[str]
    fill: str
    replace: bool
    tree: str
    def __init__(self, dataset: _Optional[str] = ..., files: _Optional[_Iterable[str]] = ..., columns: _Optional[_Iterable[str]] = ..., on: _Optional[_Iterable[str]] = ..., fill: _Optional[str] = ..., replace: _Optional[bool] = ..., tree: _Optional[str] = ...) -> None: ...

class AddColumnsEvent(_message.Message):
    __slots__ = ("progress", "found")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    progress: Advance
    found: AddedColumns
    def __init__(self, progress: _Optional[_Union[Advance, _Mapping]] = ..., found: _Optional[_Union[AddedColumns, _Mapping]] = ...) -> None: ...

class AddedColumns(_message.Message):
    __slots__ = ("dataset", "version", "columns", "events", "missing", "duplicates", "unused", "bytes", "seconds")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    UNUSED_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    version: int
    columns: _containers.RepeatedScalarFieldContainer[str]
    events: int
    missing: int
    duplicates: int
    unused: int
    bytes: int
    seconds: float
    def __init__(self, dataset: _Optional[str] = ..., version: _Optional[int] = ..., columns: _Optional[_Iterable[str]] = ..., events: _Optional[int] = ..., missing: _Optional[int] = ..., duplicates: _Optional[int] = ..., unused: _Optional[int] = ..., bytes: _Optional[int] = ..., seconds: _Optional[float] = ...) -> None: ...

class NewDefinition(_message.Message):
    __slots__ = ("name", "text")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    name: str
    text: str
    def __init__(self, name: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class DefineRequest(_message.Message):
    __slots__ = ("dataset", "definitions")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    DEFINITIONS_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    definitions: _containers.RepeatedCompositeFieldContainer[NewDefinition]
    def __init__(self, dataset: _Optional[str] = ..., definitions: _Optional[_Iterable[_Union[NewDefinition, _Mapping]]] = ...) -> None: ...

class DropDefinitionRequest(_message.Message):
    __slots__ = ("dataset", "name")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    name: str
    def __init__(self, dataset: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class Definition(_message.Message):
    __slots__ = ("name", "text", "created", "versions", "bytes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    text: str
    created: int
    versions: _containers.RepeatedScalarFieldContainer[int]
    bytes: int
    def __init__(self, name: _Optional[str] = ..., text: _Optional[str] = ..., created: _Optional[int] = ..., versions: _Optional[_Iterable[int]] = ..., bytes: _Optional[int] = ...) -> None: ...

class QueryStart(_message.Message):
    __slots__ = ("query", "execution", "deliver", "rows", "histograms", "unordered", "held", "at_once")
    class Deliver(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        BATCHES: _ClassVar[QueryStart.Deliver]
        COUNT: _ClassVar[QueryStart.Deliver]
        HISTOGRAMS: _ClassVar[QueryStart.Deliver]
    BATCHES: QueryStart.Deliver
    COUNT: QueryStart.Deliver
    HISTOGRAMS: QueryStart.Deliver
    QUERY_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    DELIVER_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    HISTOGRAMS_FIELD_NUMBER: _ClassVar[int]
    UNORDERED_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    AT_ONCE_FIELD_NUMBER: _ClassVar[int]
    query: str
    execution: str
    deliver: QueryStart.Deliver
    rows: bool
    histograms: bytes
    unordered: bool
    held: Held
    at_once: bool
    def __init__(self, query: _Optional[str] = ..., execution: _Optional[str] = ..., deliver: _Optional[_Union[QueryStart.Deliver, str]] = ..., rows: _Optional[bool] = ..., histograms: _Optional[bytes] = ..., unordered: _Optional[bool] = ..., held: _Optional[_Union[Held, _Mapping]] = ..., at_once: _Optional[bool] = ...) -> None: ...

class Held(_message.Message):
    __slots__ = ("whole", "begun", "events_out")
    WHOLE_FIELD_NUMBER: _ClassVar[int]
    BEGUN_FIELD_NUMBER: _ClassVar[int]
    EVENTS_OUT_FIELD_NUMBER: _ClassVar[int]
    whole: _containers.RepeatedCompositeFieldContainer[PartitionRange]
    begun: _containers.RepeatedCompositeFieldContainer[Position]
    events_out: int
    def __init__(self, whole: _Optional[_Iterable[_Union[PartitionRange, _Mapping]]] = ..., begun: _Optional[_Iterable[_Union[Position, _Mapping]]] = ..., events_out: _Optional[int] = ...) -> None: ...

class PartitionRange(_message.Message):
    __slots__ = ("first", "stop")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    first: int
    stop: int
    def __init__(self, first: _Optional[int] = ..., stop: _Optional[int] = ...) -> None: ...

class Position(_message.Message):
    __slots__ = ("partition", "cursor", "pruned", "pushed")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    PRUNED_FIELD_NUMBER: _ClassVar[int]
    PUSHED_FIELD_NUMBER: _ClassVar[int]
    partition: int
    cursor: int
    pruned: bool
    pushed: bool
    def __init__(self, partition: _Optional[int] = ..., cursor: _Optional[int] = ..., pruned: _Optional[bool] = ..., pushed: _Optional[bool] = ...) -> None: ...

class QueryMessage(_message.Message):
    __slots__ = ("start", "acknowledge")
    START_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGE_FIELD_NUMBER: _ClassVar[int]
    start: QueryStart
    acknowledge: int
    def __init__(self, start: _Optional[_Union[QueryStart, _Mapping]] = ..., acknowledge: _Optional[int] = ...) -> None: ...

class QueryEvent(_message.Message):
    __slots__ = ("plan", "split", "progress", "end")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    plan: QueryPlan
    split: Split
    progress: Advance
    end: QueryEnd
    def __init__(self, plan: _Optional[_Union[QueryPlan, _Mapping]] = ..., split: _Optional[_Union[Split, _Mapping]] = ..., progress: _Optional[_Union[Advance, _Mapping]] = ..., end: _Optional[_Union[QueryEnd, _Mapping]] = ...) -> None: ...

class Output(_message.Message):
    __slots__ = ("name", "dtype", "axis", "list", "collection", "counts", "optional", "title")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    AXIS_FIELD_NUMBER: _ClassVar[int]
    LIST_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    OPTIONAL_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: str
    axis: int
    list: str
    collection: bool
    counts: str
    optional: bool
    title: str
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[str] = ..., axis: _Optional[int] = ..., list: _Optional[str] = ..., collection: _Optional[bool] = ..., counts: _Optional[str] = ..., optional: _Optional[bool] = ..., title: _Optional[str] = ...) -> None: ...

class QueryPlan(_message.Message):
    __slots__ = ("query_id", "query", "version", "outputs", "terms", "partitions", "events", "object_bytes", "answer", "tally")
    QUERY_ID_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    OBJECT_BYTES_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    TALLY_FIELD_NUMBER: _ClassVar[int]
    query_id: str
    query: str
    version: DatasetVersion
    outputs: _containers.RepeatedCompositeFieldContainer[Output]
    terms: _containers.RepeatedScalarFieldContainer[str]
    partitions: int
    events: int
    object_bytes: int
    answer: Answer
    tally: Tally
    def __init__(self, query_id: _Optional[str] = ..., query: _Optional[str] = ..., version: _Optional[_Union[DatasetVersion, _Mapping]] = ..., outputs: _Optional[_Iterable[_Union[Output, _Mapping]]] = ..., terms: _Optional[_Iterable[str]] = ..., partitions: _Optional[int] = ..., events: _Optional[int] = ..., object_bytes: _Optional[int] = ..., answer: _Optional[_Union[Answer, _Mapping]] = ..., tally: _Optional[_Union[Tally, _Mapping]] = ...) -> None: ...

class ResolveAction(_message.Message):
    __slots__ = ("protocol", "client", "start")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    client: str
    start: bytes
    def __init__(self, protocol: _Optional[int] = ..., client: _Optional[str] = ..., start: _Optional[bytes] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("splits", "end")
    SPLITS_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    splits: _containers.RepeatedCompositeFieldContainer[Split]
    end: QueryEnd
    def __init__(self, splits: _Optional[_Iterable[_Union[Split, _Mapping]]] = ..., end: _Optional[_Union[QueryEnd, _Mapping]] = ...) -> None: ...

class Split(_message.Message):
    __slots__ = ("number", "events", "nbytes", "report", "covers", "data", "ticket", "locations")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NBYTES_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    COVERS_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    TICKET_FIELD_NUMBER: _ClassVar[int]
    LOCATIONS_FIELD_NUMBER: _ClassVar[int]
    number: int
    events: int
    nbytes: int
    report: Report
    covers: Held
    data: bytes
    ticket: bytes
    locations: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, number: _Optional[int] = ..., events: _Optional[int] = ..., nbytes: _Optional[int] = ..., report: _Optional[_Union[Report, _Mapping]] = ..., covers: _Optional[_Union[Held, _Mapping]] = ..., data: _Optional[bytes] = ..., ticket: _Optional[bytes] = ..., locations: _Optional[_Iterable[str]] = ...) -> None: ...

class QueryEnd(_message.Message):
    __slots__ = ("report", "splits", "histograms")
    REPORT_FIELD_NUMBER: _ClassVar[int]
    SPLITS_FIELD_NUMBER: _ClassVar[int]
    HISTOGRAMS_FIELD_NUMBER: _ClassVar[int]
    report: Report
    splits: int
    histograms: _containers.RepeatedCompositeFieldContainer[HistogramBins]
    def __init__(self, report: _Optional[_Union[Report, _Mapping]] = ..., splits: _Optional[int] = ..., histograms: _Optional[_Iterable[_Union[HistogramBins, _Mapping]]] = ...) -> None: ...

class HistogramBins(_message.Message):
    __slots__ = ("sums", "squares")
    SUMS_FIELD_NUMBER: _ClassVar[int]
    SQUARES_FIELD_NUMBER: _ClassVar[int]
    sums: bytes
    squares: bytes
    def __init__(self, sums: _Optional[bytes] = ..., squares: _Optional[bytes] = ...) -> None: ...

class CutCount(_message.Message):
    __slots__ = ("term", "events", "uncounted")
    TERM_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    UNCOUNTED_FIELD_NUMBER: _ClassVar[int]
    term: str
    events: int
    uncounted: bool
    def __init__(self, term: _Optional[str] = ..., events: _Optional[int] = ..., uncounted: _Optional[bool] = ...) -> None: ...

class Report(_message.Message):
    __slots__ = ("dataset", "version", "partitions_planned", "partitions_done", "events_in", "events_out", "cutflow", "objects_pruned", "chunks", "chunks_pruned", "bytes_read", "bytes_skipped", "bytes_moved", "partitions_pushed", "reason", "seconds", "query_id", "splits", "splits_cached")
    class SecondsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    DATASET_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_PLANNED_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_DONE_FIELD_NUMBER: _ClassVar[int]
    EVENTS_IN_FIELD_NUMBER: _ClassVar[int]
    EVENTS_OUT_FIELD_NUMBER: _ClassVar[int]
    CUTFLOW_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_PRUNED_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_PRUNED_FIELD_NUMBER: _ClassVar[int]
    BYTES_READ_FIELD_NUMBER: _ClassVar[int]
    BYTES_SKIPPED_FIELD_NUMBER: _ClassVar[int]
    BYTES_MOVED_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_PUSHED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    QUERY_ID_FIELD_NUMBER: _ClassVar[int]
    SPLITS_FIELD_NUMBER: _ClassVar[int]
    SPLITS_CACHED_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    version: int
    partitions_planned: int
    partitions_done: int
    events_in: int
    events_out: int
    cutflow: _containers.RepeatedCompositeFieldContainer[CutCount]
    objects_pruned: int
    chunks: int
    chunks_pruned: int
    bytes_read: int
    bytes_skipped: int
    bytes_moved: int
    partitions_pushed: int
    reason: str
    seconds: _containers.ScalarMap[str, float]
    query_id: str
    splits: int
    splits_cached: int
    def __init__(self, dataset: _Optional[str] = ..., version: _Optional[int] = ..., partitions_planned: _Optional[int] = ..., partitions_done: _Optional[int] = ..., events_in: _Optional[int] = ..., events_out: _Optional[int] = ..., cutflow: _Optional[_Iterable[_Union[CutCount, _Mapping]]] = ..., objects_pruned: _Optional[int] = ..., chunks: _Optional[int] = ..., chunks_pruned: _Optional[int] = ..., bytes_read: _Optional[int] = ..., bytes_skipped: _Optional[int] = ..., bytes_moved: _Optional[int] = ..., partitions_pushed: _Optional[int] = ..., reason: _Optional[str] = ..., seconds: _Optional[_Mapping[str, float]] = ..., query_id: _Optional[str] = ..., splits: _Optional[int] = ..., splits_cached: _Optional[int] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("dataset", "version", "events", "partitions", "files", "layouts", "columns", "terms", "cut_bytes", "output_bytes", "object_bytes", "place", "bytes_known", "computes")
    class CutBytesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class OutputBytesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    DATASET_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    LAYOUTS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    CUT_BYTES_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_BYTES_FIELD_NUMBER: _ClassVar[int]
    OBJECT_BYTES_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    BYTES_KNOWN_FIELD_NUMBER: _ClassVar[int]
    COMPUTES_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    version: int
    events: int
    partitions: int
    files: int
    layouts: int
    columns: _containers.RepeatedScalarFieldContainer[str]
    terms: _containers.RepeatedScalarFieldContainer[str]
    cut_bytes: _containers.ScalarMap[str, int]
    output_bytes: _containers.ScalarMap[str, int]
    object_bytes: int
    place: str
    bytes_known: bool
    computes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, dataset: _Optional[str] = ..., version: _Optional[int] = ..., events: _Optional[int] = ..., partitions: _Optional[int] = ..., files: _Optional[int] = ..., layouts: _Optional[int] = ..., columns: _Optional[_Iterable[str]] = ..., terms: _Optional[_Iterable[str]] = ..., cut_bytes: _Optional[_Mapping[str, int]] = ..., output_bytes: _Optional[_Mapping[str, int]] = ..., object_bytes: _Optional[int] = ..., place: _Optional[str] = ..., bytes_known: _Optional[bool] = ..., computes: _Optional[_Iterable[str]] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ServiceStatus(_message.Message):
    __slots__ = ("server", "uptime_s", "draining", "workers", "threads", "queries", "held_bytes", "cache_bytes", "cache_hits", "cache_misses", "queries_done", "queries_failed", "queries_refused")
    SERVER_FIELD_NUMBER: _ClassVar[int]
    UPTIME_S_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    HELD_BYTES_FIELD_NUMBER: _ClassVar[int]
    CACHE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CACHE_HITS_FIELD_NUMBER: _ClassVar[int]
    CACHE_MISSES_FIELD_NUMBER: _ClassVar[int]
    QUERIES_DONE_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FAILED_FIELD_NUMBER: _ClassVar[int]
    QUERIES_REFUSED_FIELD_NUMBER: _ClassVar[int]
    server: str
    uptime_s: float
    draining: bool
    workers: int
    threads: int
    queries: _containers.RepeatedCompositeFieldContainer[RunningQuery]
    held_bytes: int
    cache_bytes: int
    cache_hits: int
    cache_misses: int
    queries_done: int
    queries_failed: int
    queries_refused: int
    def __init__(self, server: _Optional[str] = ..., uptime_s: _Optional[float] = ..., draining: _Optional[bool] = ..., workers: _Optional[int] = ..., threads: _Optional[int] = ..., queries: _Optional[_Iterable[_Union[RunningQuery, _Mapping]]] = ..., held_bytes: _Optional[int] = ..., cache_bytes: _Optional[int] = ..., cache_hits: _Optional[int] = ..., cache_misses: _Optional[int] = ..., queries_done: _Optional[int] = ..., queries_failed: _Optional[int] = ..., queries_refused: _Optional[int] = ...) -> None: ...

class RunningQuery(_message.Message):
    __slots__ = ("query_id", "client", "dataset", "cut", "age_s", "partitions_done", "partitions", "events_done", "events", "bytes_out", "held_bytes", "running")
    QUERY_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    CUT_FIELD_NUMBER: _ClassVar[int]
    AGE_S_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_DONE_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_DONE_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    BYTES_OUT_FIELD_NUMBER: _ClassVar[int]
    HELD_BYTES_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    query_id: str
    client: str
    dataset: str
    cut: str
    age_s: float
    partitions_done: int
    partitions: int
    events_done: int
    events: int
    bytes_out: int
    held_bytes: int
    running: int
    def __init__(self, query_id: _Optional[str] = ..., client: _Optional[str] = ..., dataset: _Optional[str] = ..., cut: _Optional[str] = ..., age_s: _Optional[float] = ..., partitions_done: _Optional[int] = ..., partitions: _Optional[int] = ..., events_done: _Optional[int] = ..., events: _Optional[int] = ..., bytes_out: _Optional[int] = ..., held_bytes: _Optional[int] = ..., running: _Optional[int] = ...) -> None: ...

class IngestRequest(_message.Message):
    __slots__ = ("dataset", "files", "columns", "tree", "codec", "partition_bytes", "chunk_events", "replace", "skip_bad_files")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    TREE_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_BYTES_FIELD_NUMBER: _ClassVar[int]
    CHUNK_EVENTS_FIELD_NUMBER: _ClassVar[int]
    REPLACE_FIELD_NUMBER: _ClassVar[int]
    SKIP_BAD_FILES_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    files: _containers.RepeatedScalarFieldContainer[str]
    columns: _containers.RepeatedScalarFieldContainer[str]
    tree: str
    codec: str
    partition_bytes: int
    chunk_events: int
    replace: bool
    skip_bad_files: bool
    def __init__(self, dataset: _Optional[str] = ..., files: _Optional[_Iterable[str]] = ..., columns: _Optional[_Iterable[str]] = ..., tree: _Optional[str] = ..., codec: _Optional[str] = ..., partition_bytes: _Optional[int] = ..., chunk_events: _Optional[int] = ..., replace: _Optional[bool] = ..., skip_bad_files: _Optional[bool] = ...) -> None: ...

class SaveRequest(_message.Message):
    __slots__ = ("name", "query", "execution", "codec", "partition_bytes", "chunk_events")
    NAME_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_BYTES_FIELD_NUMBER: _ClassVar[int]
    CHUNK_EVENTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    query: str
    execution: str
    codec: str
    partition_bytes: int
    chunk_events: int
    def __init__(self, name: _Optional[str] = ..., query: _Optional[str] = ..., execution: _Optional[str] = ..., codec: _Optional[str] = ..., partition_bytes: _Optional[int] = ..., chunk_events: _Optional[int] = ...) -> None: ...

class JobRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FileFailure(_message.Message):
    __slots__ = ("path", "kind", "message", "advice")
    PATH_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ADVICE_FIELD_NUMBER: _ClassVar[int]
    path: str
    kind: str
    message: str
    advice: str
    def __init__(self, path: _Optional[str] = ..., kind: _Optional[str] = ..., message: _Optional[str] = ..., advice: _Optional[str] = ...) -> None: ...

class SkippedBranch(_message.Message):
    __slots__ = ("path", "name", "typename", "reason")
    PATH_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPENAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    path: str
    name: str
    typename: str
    reason: str
    def __init__(self, path: _Optional[str] = ..., name: _Optional[str] = ..., typename: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class IngestJob(_message.Message):
    __slots__ = ("job_id", "dataset", "state", "files", "events", "events_done", "partitions_made", "partitions_reused", "bytes", "source_bytes", "seconds", "version", "error", "failures", "skipped", "created", "updated", "events_kept")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_DONE_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_MADE_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_REUSED_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    SOURCE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    UPDATED_FIELD_NUMBER: _ClassVar[int]
    EVENTS_KEPT_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    dataset: str
    state: str
    files: int
    events: int
    events_done: int
    partitions_made: int
    partitions_reused: int
    bytes: int
    source_bytes: int
    seconds: float
    version: int
    error: Error
    failures: _containers.RepeatedCompositeFieldContainer[FileFailure]
    skipped: _containers.RepeatedCompositeFieldContainer[SkippedBranch]
    created: int
    updated: int
    events_kept: int
    def __init__(self, job_id: _Optional[str] = ..., dataset: _Optional[str] = ..., state: _Optional[str] = ..., files: _Optional[int] = ..., events: _Optional[int] = ..., events_done: _Optional[int] = ..., partitions_made: _Optional[int] = ..., partitions_reused: _Optional[int] = ..., bytes: _Optional[int] = ..., source_bytes: _Optional[int] = ..., seconds: _Optional[float] = ..., version: _Optional[int] = ..., error: _Optional[_Union[Error, _Mapping]] = ..., failures: _Optional[_Iterable[_Union[FileFailure, _Mapping]]] = ..., skipped: _Optional[_Iterable[_Union[SkippedBranch, _Mapping]]] = ..., created: _Optional[int] = ..., updated: _Optional[int] = ..., events_kept: _Optional[int] = ...) -> None: ...
