"""The soak of budgets: many processes that buy under overlapping limits, while processes and the store are killed.

`market` sells, and keeps a log of its own. `buyers` are the processes that buy with the store's own commands. `soak`
starts and kills them, and raises limits. `audit` judges the result by the market's log and by the append-only file of
the store.
"""
