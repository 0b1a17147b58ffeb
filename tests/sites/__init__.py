"""Real batch sites for tests and for trying things out: independent Slurm clusters of several nodes on one host."""
