"""What commands print.

- answers: the lines at the end of a run, from the summary of its result
- progress_text: single lines about what is going on
- space: the output of `probe space`
- layout: labelled lines and tables on a terminal
"""
