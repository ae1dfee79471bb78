"""The drawing kit of all reports: canvas, page and text; it knows no stage."""
