"""Who asks, and what they may do: keys, signed-in users, grants, and the database that knows them.

`roles` and `rules` are plain values; `store` reads and writes them in `database`; `tokens` and
`oidc` tell who shows a credential; `access` puts them together for the service.
"""
