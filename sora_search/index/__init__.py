"""What lies on disk: the catalog (the truth), the vector index (its cache), and indexing.

A `VideoIndex` holds both and keeps them consistent; `indexing` fills it from files.
"""
