"""Walks a published number back: a mean to its scores, a score to its verdict, a verdict to its prompt, file and run.

Reads only the publication, and the judge profiles for the text around a prompt.
"""
