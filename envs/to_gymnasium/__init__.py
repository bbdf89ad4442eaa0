"""Task families as ordinary Gymnasium environments."""
