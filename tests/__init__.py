"""The suite, a package so that `tests.…` is this folder and not one that a dependency happens to install."""
