"""Desired state as data, and the words in which controller and agent speak of it.

Here: kinds, their schemas, loading with file:line:column, digests, and the wire types shared by
`reconciler`, `hyper` and `iaasctl`. Not here: anything that reads a clock, a socket or an engine.

All is pure Python on the standard library, because `hyper` must run on a bare host from one file:
all but `guard`, `positions` and `load` (PyYAML), `sentences` and `validate` (jsonschema as well).
"""
