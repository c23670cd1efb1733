"""From a delivery to stored rows."""
