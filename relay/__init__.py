"""The wire: tensors between satellites and ground, over contacts that open and close.

`wire` is what travels, `client` what training code holds, `direct` the loopback path of a simulated run, and
`node`, `spool`, `link` and `identity` the store-and-forward relay of the emulation.
"""
