"""Files and frames: what a file is, and which frames are on screen at which time.

The only station that imports PyAV. Everything it gives out is RGB, upright, with
square pixels, and timed in seconds from the first shown frame.
"""
