"""The version of Dreamloop's nodes, by which both sides know whether they understand each other."""

VERSION = 1
"""What these nodes speak; a change that the other side must know of makes it one higher."""

OLDEST = 1
"""The oldest version whose graphs these nodes still take as they were meant."""
