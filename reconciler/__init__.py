"""The control plane: keeps desired state, decides, brings decisions to the agents, answers the API.

A pure core in a thin shell: `core` decides from snapshots; `store` (peewee), `api` (bottle), `fleet`
(the agents), `images` (bytes) and `loop` act. Not here: anything that touches an engine.
"""
