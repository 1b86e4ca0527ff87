"""The page as it is sent to the browser.

Owns the HTML of notes, the form, the page around them, and the files that a browser may fetch. `note_html` and `form`
run in the browser too. It never talks to Postgres.
"""
