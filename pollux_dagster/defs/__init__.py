"""Assets, checks, partitions, jobs, sensors and the schedule. `definitions` loads this folder."""
