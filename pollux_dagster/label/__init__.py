"""A person scores answers: a sample by a stated design, a local page that asks for scores, the files they go into."""
