"""Failover drills: inject a fault into a cluster and measure what its clients feel.

The measuring is done where the clients are: unique ids are written through the Router and looked for on every member
afterwards. `attempts` and `ledger` hold the clients, `sampler` what members and pods say meanwhile, `outages`,
`timeline` and `verdict` make numbers of it, `report` makes them readable.
"""
