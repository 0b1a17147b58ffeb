"""What is known: functions, endpoints, tasks, identities. The only place with SQL.

``database.Database`` is the door: ``await database.write(leases.lease, …)`` runs a function of
this package in a transaction. Each module holds the statements of one noun.
"""
