"""The tests. A package, so that `from tests.strict_array import …` works from everywhere in it."""
