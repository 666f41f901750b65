"""Reports of runs, campaigns and sessions: text, JSON, SVG and HTML, from traces and findings."""
