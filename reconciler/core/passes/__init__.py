"""The passes of a reconcile, one file each: each reads and extends the Draft that it is given."""
