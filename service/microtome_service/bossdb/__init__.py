"""The BossDB API, version 1, over the store's layers: what intern and Neuroglancer's boss:// speak.

A collection is a collection, a dataset an experiment, a layer a channel, or several where it has
an axis c. Source of the words: https://docs.theboss.io/docs, and intern 1.4.2, which asks for them.
"""
