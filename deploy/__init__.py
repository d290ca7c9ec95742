"""Releases: one immutable tree each in the bucket of Composer, and one small object that says which of them is
current.
"""
