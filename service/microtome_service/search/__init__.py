"""Search over the records of every dataset: an index in the service's database.

The stores remain the truth. `look` reads them, `kept` writes what was seen into the tables of
`tables`, `question` and `visible` become SQL, `index` keeps all of it as new as can be.
"""
