"""Read pictures: folder layouts, shards, tables, corpora, near-duplicates, segmentation, captions."""
