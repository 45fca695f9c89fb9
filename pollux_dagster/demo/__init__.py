"""What the demonstration needs, all made for this project: instructions, answers, and a small judge."""

from pathlib import Path

LANDING = Path(__file__).parent / "data"
JUDGE = Path(__file__).parent / "judge"
