"""Families of mlx-vlm, and what is corrected in them.

A correction names the versions it is for, and has a test that fails when it is not needed any more.
"""
