"""Audio codecs: 16-bit linear audio at a codec's rate to payload bytes and back.

Owns: G.711 (`g711`); others will come through PyAV. Must not know RTP, calls or files.
"""
