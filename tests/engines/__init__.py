"""Judge servers for real: environments of their own, one command to make each, and tests that judge with them.

The folder is under `tests` because the tests are its purpose: `install` and `record` serve them and measure nothing.
"""
