"""Reports of searches compared: the summary, the page, and the plot."""
