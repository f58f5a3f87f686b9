"""Find the video a clip came from, or videos that show the same, in your own folders."""
