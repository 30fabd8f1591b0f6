"""The agent on a node: makes the host run what its assignment says, and reports what it sees.

Here: observing and driving Docker and libvirt, restarting failed machines, publishing ports, the
cache of images, the ledger. Not here: any decision about other nodes. Starts without the SDK of an
engine and says so; imports only pure Python beside those SDKs.
"""
