"""The thin HTTP face: reads status/ and output/, forwards commands, and holds no dream of its own."""
