"""The tables as peewee sees them. Not bound to a database: each Store brings its own.

Specs are JSON text, with columns beside them only for what is asked for in SQL. The schema itself is
in `migrations`.
"""

from peewee import (
    AutoField,
    BooleanField,
    CompositeKey,
    FloatField,
    IntegerField,
    Model,
    TextField,
)


class MetaRow(Model):
    """One row."""

    id = IntegerField(primary_key=True)
    cluster = TextField()
    revision = IntegerField()
    term = IntegerField()

    class Meta:
        table_name = "meta"


class ObjectRow(Model):
    uid = TextField(primary_key=True)
    kind = TextField()
    name = TextField()
    source = TextField()
    manifest = TextField()
    generation = IntegerField()
    deleting = BooleanField()
    created = FloatField()
    size = IntegerField()

    class Meta:
        table_name = "object"


class PlacementRow(Model):
    """`since` is the revision at which it was placed, or went, or came back: their order."""

    uid = TextField()
    epoch = IntegerField()
    node = TextField()
    stage = TextField()
    spec = TextField()
    wire = TextField()
    generation = IntegerField()
    since = IntegerField()

    class Meta:
        table_name = "placement"
        primary_key = CompositeKey("uid", "epoch")


class PortClaimRow(Model):
    node = TextField()
    protocol = TextField()
    port = IntegerField()
    uid = TextField()
    epoch = IntegerField()

    class Meta:
        table_name = "port_claim"
        primary_key = CompositeKey("node", "protocol", "port")


class GenerationRow(Model):
    node = TextField(primary_key=True)
    generation = IntegerField()

    class Meta:
        table_name = "generation"


class EventRow(Model):
    id = AutoField()
    at = FloatField()
    kind = TextField()
    name = TextField()
    uid = TextField()
    reason = TextField()
    message = TextField()

    class Meta:
        table_name = "event"


class AuditRow(Model):
    """`objects` is a JSON list. `refused` is what is bounded apart."""

    id = AutoField()
    at = FloatField()
    who = TextField()
    peer = TextField()
    method = TextField()
    path = TextField()
    action = TextField()
    status = IntegerField()
    objects = TextField()
    error = TextField()
    message = TextField()
    times = IntegerField()
    revision = IntegerField(null=True)
    refused = BooleanField()

    class Meta:
        table_name = "audit"


class KeyRow(Model):
    id = AutoField()
    key = TextField()
    digest = TextField()
    kind = TextField()
    uid = TextField()
    at = FloatField()

    class Meta:
        table_name = "key_use"


class SourceRow(Model):
    """What is in force of a watched directory. `told`: what was last said of it in an event."""

    name = TextField(primary_key=True)
    path = TextField()
    commit = TextField()
    digest = TextField()
    revision = IntegerField()
    at = FloatField()
    told = TextField()

    class Meta:
        table_name = "source"
