"""Vision-language families, each as the files of a small checkpoint."""
