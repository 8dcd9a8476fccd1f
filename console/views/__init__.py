"""Reports as rich renderables for people: tables, lines, trends. Pure; a report's JSON is not made here."""
