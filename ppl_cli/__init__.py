"""Learn a pose prior from unlabelled images of one category, and find poses with it."""

__version__ = "0.1.0"
