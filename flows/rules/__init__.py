"""What a price must satisfy."""
