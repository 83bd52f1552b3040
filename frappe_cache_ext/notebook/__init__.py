"""The IPython extension: magics, completion, and cells that are requests.

Needs IPython, which the rest of the package does without.
"""
