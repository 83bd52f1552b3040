"""The notebooks in other forms than as files to open with Jupyter."""
