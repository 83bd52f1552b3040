"""Cells that need not run again: what a cell depends on, what it did, and how to put that back."""
