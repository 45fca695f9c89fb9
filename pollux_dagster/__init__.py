"""Quality tables for LLM answers, judged one criterion at a time."""

__version__ = "0.1.0"
