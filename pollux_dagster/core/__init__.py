"""The domain in plain Python: scales, prompts, replies, profiles, taxonomy, verdicts. Imports nothing of ours."""
