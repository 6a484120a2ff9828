"""The T5 family: an encoder and a decoder, a prompt in front of the encoder."""
