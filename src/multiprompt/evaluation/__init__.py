"""From a trained method to scores: decode, compare, keep the record.

``results`` and ``summaries`` are not imported here: reports read them without loading torch.
"""
