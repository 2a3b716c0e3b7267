"""The catalog's selects, built once: SQLAlchemy compiles each only the first time."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import bindparam, func, select

from . import tables as t

version_columns = (
    t.versions.c.id,
    t.datasets.c.name,
    t.versions.c.number,
    t.versions.c.schema_id,
    t.versions.c.events,
    t.versions.c.partitions,
    t.versions.c.bytes,
    t.versions.c.created,
    t.versions.c.note,
)
versions = (
    select(*version_columns)
    .join(t.datasets, t.datasets.c.id == t.versions.c.dataset_id)
    .where(t.datasets.c.name == bindparam("dataset"))
    .order_by(t.versions.c.number.desc())
)
newest = versions.limit(1)
numbered = versions.where(t.versions.c.number == bindparam("number"))

newest_numbers = (
    select(
        t.versions.c.dataset_id,
        sa.func.max(t.versions.c.number).label("number"),
        sa.func.count().label("versions"),
    )
    .group_by(t.versions.c.dataset_id)
    .subquery()
)
all_newest = (
    select(*version_columns, newest_numbers.c.versions)
    .join(t.datasets, t.datasets.c.id == t.versions.c.dataset_id)
    .join(
        newest_numbers,
        (newest_numbers.c.dataset_id == t.versions.c.dataset_id)
        & (newest_numbers.c.number == t.versions.c.number),
    )
    .order_by(t.datasets.c.name)
)

column_fields = (
    t.schema_columns.c.name,
    t.schema_columns.c.dtype,
    t.schema_columns.c.list,
    t.schema_columns.c.counts,
    t.schema_columns.c.title,
    t.schema_columns.c.typename,
)
of_schema = t.schema_columns.c.schema_id == bindparam("schema_id")
one_column = select(*column_fields).where(of_schema, t.schema_columns.c.name == bindparam("name"))
some_columns = select(*column_fields).where(
    of_schema, t.schema_columns.c.name.in_(bindparam("names", expanding=True))
)
all_columns = select(*column_fields).where(of_schema).order_by(t.schema_columns.c.position)
all_names = select(t.schema_columns.c.name).where(of_schema).order_by(t.schema_columns.c.position)

all_lists = (
    select(t.schema_lists.c.name, t.schema_lists.c.counter, t.schema_lists.c.collection)
    .where(t.schema_lists.c.schema_id == bindparam("schema_id"))
    .order_by(t.schema_lists.c.position)
)
one_list = all_lists.where(t.schema_lists.c.name == bindparam("name"))

layout_index = select(t.layout_columns.c.name, t.layout_columns.c.index).where(
    t.layout_columns.c.layout_id == bindparam("layout_id"),
    t.layout_columns.c.name.in_(bindparam("names", expanding=True)),
)
whole_layout = (
    select(t.layout_columns.c.name, t.layout_columns.c.index)
    .where(t.layout_columns.c.layout_id == bindparam("layout_id"))
    .order_by(t.layout_columns.c.index)
)
version_layouts = select(t.version_layouts.c.layout_id).where(
    t.version_layouts.c.version_id == bindparam("version_id")
)
layouts_having = select(t.layout_columns.c.name, t.layout_columns.c.layout_id).where(
    t.layout_columns.c.layout_id.in_(bindparam("layout_ids", expanding=True)),
    t.layout_columns.c.name.in_(bindparam("names", expanding=True)),
)

file_fields = (
    t.files.c.path,
    t.files.c.uuid,
    t.files.c.tree,
    t.files.c.entries,
    t.files.c.bytes,
)
object_fields = (
    t.objects.c.name,
    t.objects.c.bytes,
    t.objects.c.directory_start,
    t.objects.c.directory_bytes,
    t.objects.c.layout_id,
)
version_files = (
    select(t.files.c.id, *file_fields)
    .join(t.version_files, t.version_files.c.file_id == t.files.c.id)
    .where(t.version_files.c.version_id == bindparam("version_id"))
    .order_by(t.version_files.c.position)
)
version_partitions = (
    select(
        t.version_partitions.c.position,
        t.version_partitions.c.first_event,
        t.partitions.c.events,
        t.partitions.c.entry_start,
        t.partitions.c.entry_stop,
        t.partitions.c.file_id,
        *object_fields,
    )
    .select_from(t.version_partitions)
    .join(t.partitions, t.partitions.c.id == t.version_partitions.c.partition_id)
    .join(t.objects, t.objects.c.id == t.partitions.c.object_id)
    .where(
        t.version_partitions.c.version_id == bindparam("version_id"),
        t.version_partitions.c.position >= bindparam("first"),
        t.version_partitions.c.position < bindparam("stop"),
    )
    .order_by(t.version_partitions.c.position)
)
version_sets = (
    select(t.version_sets.c.position, *object_fields)
    .join(t.objects, t.objects.c.id == t.version_sets.c.object_id)
    .where(
        t.version_sets.c.version_id == bindparam("version_id"),
        t.version_sets.c.position >= bindparam("first"),
        t.version_sets.c.position < bindparam("stop"),
    )
    .order_by(t.version_sets.c.position, t.version_sets.c.layer)
)
_tally_fields = (
    t.objects.c.name,
    t.objects.c.layout_id,
    t.object_weights.c.exact,
    t.object_sections.c.ranges,
)
partition_tallies = (
    select(t.version_partitions.c.position, t.partitions.c.events, *_tally_fields)
    .select_from(t.version_partitions)
    .join(t.partitions, t.partitions.c.id == t.version_partitions.c.partition_id)
    .join(t.objects, t.objects.c.id == t.partitions.c.object_id)
    .outerjoin(t.object_weights, t.object_weights.c.object_id == t.objects.c.id)
    .outerjoin(t.object_sections, t.object_sections.c.object_id == t.objects.c.id)
    .where(
        t.version_partitions.c.version_id == bindparam("version_id"),
        t.version_partitions.c.position >= bindparam("first"),
        t.version_partitions.c.position < bindparam("stop"),
    )
    .order_by(t.version_partitions.c.position)
)
set_tallies = (
    select(t.version_sets.c.position, *_tally_fields)
    .select_from(t.version_sets)
    .join(t.objects, t.objects.c.id == t.version_sets.c.object_id)
    .outerjoin(t.object_weights, t.object_weights.c.object_id == t.objects.c.id)
    .outerjoin(t.object_sections, t.object_sections.c.object_id == t.objects.c.id)
    .where(
        t.version_sets.c.version_id == bindparam("version_id"),
        t.version_sets.c.position >= bindparam("first"),
        t.version_sets.c.position < bindparam("stop"),
    )
    .order_by(t.version_sets.c.position, t.version_sets.c.layer)
)
origin = select(t.version_origins.c.text).where(t.version_origins.c.version_id == bindparam("version_id"))
set_layouts = (
    select(t.objects.c.layout_id, sa.func.count(), sa.func.sum(t.objects.c.bytes))
    .select_from(t.version_sets)
    .join(t.objects, t.objects.c.id == t.version_sets.c.object_id)
    .where(t.version_sets.c.version_id == bindparam("version_id"))
    .group_by(t.objects.c.layout_id)
    .order_by(sa.func.min(t.version_sets.c.layer), t.objects.c.layout_id)
)
version_file_partitions = (
    select(t.partitions.c.file_id, func.min(t.version_partitions.c.position))
    .join(t.version_partitions, t.partitions.c.id == t.version_partitions.c.partition_id)
    .where(t.version_partitions.c.version_id == bindparam("version_id"))
    .group_by(t.partitions.c.file_id)
)
version_partition_events = (
    select(t.partitions.c.events)
    .select_from(t.version_partitions)
    .join(t.partitions, t.partitions.c.id == t.version_partitions.c.partition_id)
    .where(t.version_partitions.c.version_id == bindparam("version_id"))
    .order_by(t.version_partitions.c.position)
)
files_of_layouts = (
    select(*file_fields, t.objects.c.layout_id, t.version_partitions.c.position)
    .select_from(t.version_partitions)
    .join(t.partitions, t.partitions.c.id == t.version_partitions.c.partition_id)
    .join(t.objects, t.objects.c.id == t.partitions.c.object_id)
    .join(t.files, t.files.c.id == t.partitions.c.file_id)
    .where(
        t.version_partitions.c.version_id == bindparam("version_id"),
        t.objects.c.layout_id.in_(bindparam("layout_ids", expanding=True)),
    )
    .order_by(t.files.c.path)
)
version_trees = (
    select(t.version_trees.c.tree, *file_fields, *object_fields)
    .select_from(t.version_trees)
    .join(t.files, t.files.c.id == t.version_trees.c.file_id)
    .join(t.objects, t.objects.c.id == t.version_trees.c.object_id)
    .where(t.version_trees.c.version_id == bindparam("version_id"))
    .order_by(t.version_trees.c.tree, t.files.c.id)
)
