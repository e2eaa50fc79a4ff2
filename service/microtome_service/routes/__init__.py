"""One module for each group of addresses; none does more than join the other rooms."""
