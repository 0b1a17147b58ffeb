"""What runs at a site: the agent that leases tasks, the engine with its pilots, workers and runners."""
