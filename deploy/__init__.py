"""Releases: one immutable tree each in Composer's bucket, and one small object that names the current one."""
