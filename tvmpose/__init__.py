"""tvmpose: compile a human-pose network into one small native library, and run it.

Importing this package imports nothing else: the compiler half needs TVM, the runtime half only NumPy.
"""

__version__ = "0.1.0.dev0"
