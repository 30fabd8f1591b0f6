"""The whole product in one process under a seeded schedule of faults: `python -m tests.simulation`.

Real: the API as WSGI calls, the store, the loop, the sessions, the agents, their workers, the
simulated engines of the driver contract. Simulated: clocks, the network, crashes, users, disks.
Not here: threads, sockets and real engines; those have tests of their own.
"""
