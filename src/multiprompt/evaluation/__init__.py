"""From a trained method to scores: decode, compare, keep the record.

``results`` is not imported here: reports read it without loading torch.
"""
