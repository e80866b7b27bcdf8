"""Videos and cameras: frames in, people out as JSON lines and overlays."""
