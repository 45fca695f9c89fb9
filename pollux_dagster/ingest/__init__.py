"""Readers for the landing formats, and the rules that turn landed rows into raw tables.

`sync.sync` does both; `scan.fingerprint` tells whether there may be anything to do.
"""
