"""Random inputs for everything that reads what others wrote: a fault in words, or none.

`python -m tests.fuzz` (make fuzz) runs many; tests/unit/test_fuzz.py runs a fixed few.
"""
