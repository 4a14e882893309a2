"""The kinds of adapters in the package, and the modules that define them."""

BUILT_IN = {
    "pyramid": "promptcodec.steer.pyramid",
    "transtic": "promptcodec.steer.transtic",
}
