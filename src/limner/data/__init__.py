"""Reading pictures: folder layouts, shards, tables, corpora, duplicates, segmentation, captions."""
