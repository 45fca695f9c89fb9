"""What the command line and Dagster's steps share: resources, one evaluation, its plan, the golden set, the exam."""
